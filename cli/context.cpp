#include "cli/context.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/printable.hpp"

namespace signet::cli {
namespace {

std::string Fill(std::string_view text, std::string_view program) {
  constexpr std::string_view kMark = "{signet}";
  std::string out;
  for (;;) {
    const auto at = text.find(kMark);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += program;
    text.remove_prefix(at + kMark.size());
  }
}

class OurFormatter final : public CLI::Formatter {
 public:
  OurFormatter() { column_width(34); }
  std::string make_usage(const CLI::App* app, std::string name) const override {
    return "\n" + CLI::Formatter::make_usage(app, std::move(name));
  }
  std::string make_subcommand(const CLI::App* sub) const override {
    const std::string purpose = sub->get_description();
    return fmt::format("  {:<12}{}\n", sub->get_name(), purpose.substr(0, purpose.find('\n')));
  }
};

}  // namespace

void UseOurHelp(CLI::App& app) { app.formatter(std::make_shared<OurFormatter>()); }

void AddPairsFlag(CLI::App& command, const char* flag, std::map<std::string, std::string>& pairs, const char* help) {
  const auto take = [&pairs](const std::vector<std::string>& values) {
    for (const auto& value : values) {
      const auto equals = value.find('=');
      if (equals == std::string::npos || equals == 0) return false;
      pairs[value.substr(0, equals)] = value.substr(equals + 1);
    }
    return true;
  };
  command.add_option(flag, take, help)->type_name("KEY=VALUE")->take_all()->expected(1);
}

CLI::App* AddCommand(CLI::App& parent, Context& context, const char* name, std::string_view purpose,
                     std::string_view footer, std::function<ExitCode()> run) {
  auto* command = parent.add_subcommand(name, Fill(purpose, context.program));
  command->footer(Fill(footer, context.program));
  command->callback([&context, run = std::move(run)] { context.run = run; });
  return command;
}

ExitCode Print(const Context& context, std::string_view text) { return PrintRaw(context, base::PrintableText(text)); }

ExitCode PrintRaw(const Context& context, std::string_view text) {
  const bool whole = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (whole && std::fflush(stdout) == 0) return ExitCode::kDone;
  return Fail(context, ExitCode::kFailed, fmt::format("cannot write to stdout: {}", std::strerror(errno)));
}

void Note(std::string_view line) { std::fputs((Clean(line) + "\n").c_str(), stderr); }

ExitCode Fail(const Context& context, ExitCode code, std::string_view line) {
  Note(fmt::format("{}: {}", context.program, line));
  return code;
}

ExitCode Fail(const Context& context, ExitCode code, const base::Error& error) {
  return Fail(context, code, error.message);
}

ExitCode FailOfAnswer(const Context& context, std::string_view what) {
  // "[json.exception.type_error.302] type must be string, but is number"
  if (const auto end = what.find("] "); what.starts_with('[') && end != std::string_view::npos)
    what.remove_prefix(end + 2);
  if (context.asked->empty()) return Fail(context, ExitCode::kFailed, fmt::format("JSON of another shape: {}", what));
  return Fail(context, ExitCode::kFailed,
              fmt::format("the answer of {} has another shape than Signet's: {}", *context.asked, what));
}

std::string Clean(std::string_view text) { return base::PrintableLine(text); }

std::size_t Width(std::string_view text) {
  std::size_t width = 0;
  for (; !text.empty(); ++width) text.remove_prefix(base::FirstCharacter(text).size);
  return width;
}

}  // namespace signet::cli
