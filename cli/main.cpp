// cli/main.cpp - the `signet` command. Exit codes: 0 done, 1 something is wrong, 2 usage.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>

#include "cli/audit_verify.hpp"

namespace {

constexpr const char* kVerifyHelp =
    R"help(Checks a record line by line: the chain of hashes, the sequence, intents and their outcomes.
Finds edits, swaps, repetitions, deletions, a cut start and missing segments. A FILE stands for itself
and its full segments FILE.000001, FILE.000002, ... beside it; a folder for every file in it.

Exit code 0: everything fits; prints the count of records and the head. 1: the first bad line is named.

Examples:
  signet audit verify /var/lib/signet/audit.jsonl
  signet audit verify --head "$(cat noted-head)" audit.jsonl   # proves that the end was not cut
  signet audit verify --after HASH audit.jsonl                 # earlier segments are archived elsewhere
  signet audit verify -o json /archive/audit/                  # for programs)help";

constexpr const char* kHash = "HASH";

std::string CheckHash(const std::string& text) {
  const bool good = text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
  return good ? "" : "not a head: 64 lower-case hex digits, as `signet audit verify` prints them";
}

}  // namespace

int main(int argc, char** argv) {
  using signet::cli::OutputFormat;
  CLI::App app("signet - look after Signet's records");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("signet ") + SIGNET_VERSION);

  signet::audit::VerifyOptions options;
  std::string after;
  auto format = OutputFormat::kText;
  auto* audit = app.add_subcommand("audit", "The record of signatures");
  audit->require_subcommand(1);
  auto* verify = audit->add_subcommand("verify", kVerifyHelp);
  verify->add_option("paths", options.paths, "Files or folders of the record")->required()->type_name("FILE");
  verify->add_option("--head", options.heads, "A head noted elsewhere: it must be in the record (repeatable)")
      ->type_name(kHash)
      ->take_all()
      ->check(CheckHash)
      ->expected(1);
  auto* after_option =
      verify
          ->add_option("--after", after,
                       "The head of the segment before the first one given: accept a record that goes on from there")
          ->type_name(kHash)
          ->check(CheckHash);
  verify->add_option("-o,--output", format, "text (default) or json")
      ->type_name("FORMAT")
      ->transform(CLI::CheckedTransformer(
                      std::map<std::string, OutputFormat>{{"text", OutputFormat::kText}, {"json", OutputFormat::kJson}})
                      .description(""));
  auto* version = app.add_subcommand("version", "Print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "signet: %s; see signet --help\n", error.what());
    return 2;
  }
  if (*version) {
    std::printf("signet %s\n", SIGNET_VERSION);
    return 0;
  }
  if (*after_option) options.after = after;
  return signet::cli::RunAuditVerify(options, format);
}
