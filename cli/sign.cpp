#include "cli/sign.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "cli/io.hpp"
#include "cli/socket.hpp"
#include "config/reader.hpp"
#include "encoding/text.hpp"

namespace signet::cli {
namespace {

using base::Code;

constexpr const char* kSignPurpose = R"(Sign a file, stdin or a digest under a policy.

Through the socket of a sidecar (--socket, SIGNET_SOCKET, /run/signet/signet.sock if it is there), or as a
SigningRequest (--request; the default where there is no socket but a kubeconfig). The signature goes to stdout as
base64, or to a file in binary, as openssl reads it; everything else goes to stderr.

The signature is verified before it is written: under --key or the key that --key-id names, otherwise under the key
that the socket or the status publishes.)";

constexpr const char* kSignFooter = R"(Examples:
  {signet} sign --policy release app.tar.gz -o app.tar.gz.sig
  tar c dist | {signet} sign --policy release - > dist.sig.b64
  {signet} sign --policy release --digest sha256:9f86d081... --artifact registry.example.com/app
  {signet} sign --policy release --key release.pem app.tar.gz           # only a signature of this key is written
  {signet} sign --request --policy release app.tar.gz --timeout 2h     # waits for approvals
  {signet} sign --request --no-wait --policy release app.tar.gz        # prints the request's name

Exit codes: 0 signed (or asked, with --no-wait); 1 failed; 2 usage; 3 no socket, no kubeconfig, unreadable file;
5 denied or ended without a signature; 6 undecided after --timeout (a SigningRequest stays, and may still be signed).)";

ExitCode RunSign(const Context& context, const SignFlags& flags) {
  if (flags.file.empty() == flags.digest.empty()) {
    return Fail(context, ExitCode::kUsage, "sign needs a FILE (- for stdin) or --digest, not both");
  }
  if (flags.message && !flags.digest.empty()) {
    return Fail(context, ExitCode::kUsage, "--message signs a FILE, not a --digest");
  }
  if (flags.request && !flags.socket.empty()) {
    return Fail(context, ExitCode::kUsage, "--socket and --request exclude each other");
  }
  const auto timeout = config::ParseTimespan(flags.timeout);
  if (!timeout) return Fail(context, ExitCode::kUsage, "--timeout: " + timeout.error().message);
  const std::string socket = flags.request ? "" : FindSocket(context, flags.socket);
  if (!socket.empty()) {
    return SignThroughSocket(context, flags, socket, *timeout);
  }
  if (!flags.request && !NamesCluster(context, flags.cluster)) {
    return Fail(
        context, ExitCode::kConfiguration,
        "no socket and no kubeconfig: name one with --socket (or SIGNET_SOCKET) or --kubeconfig (or KUBECONFIG)");
  }
  return SignAsRequest(context, flags, *timeout);
}

std::string CheckAlgorithm(const std::string& name) {
  if (encoding::ParseSignatureAlgorithm(name)) return "";
  std::string known;
  for (const auto& info : encoding::Algorithms()) known += std::string(known.empty() ? "" : ", ") += info.name;
  return "is none of " + known;
}

}  // namespace

void AddSign(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<SignFlags>();
  auto* command = AddCommand(parent, context, "sign", kSignPurpose, kSignFooter,
                             [&context, flags] { return RunSign(context, *flags); });
  command->add_option("FILE", flags->file, "What to sign; - is stdin");
  command->add_option("--digest", flags->digest, "Sign this digest instead of a file")->type_name("sha256:HEX");
  flags->policy = context.environment.policy;
  command->add_option("--policy", flags->policy, "The SigningPolicy (default: SIGNET_POLICY)")
      ->required(flags->policy.empty())
      ->type_name("NAME");
  command->add_option("--algorithm", flags->algorithm, "Such as ECDSAWithSHA256 (default: the policy's first)")
      ->type_name("NAME")
      ->check(CheckAlgorithm);
  command->add_option("--artifact", flags->artifact, "What you say you sign; policies may ask for it")
      ->type_name("NAME");
  command->add_option("--media-type", flags->media_type, "Of the artifact")->type_name("TYPE");
  AddPairsFlag(*command, "--annotation", flags->annotations, "More about the artifact, for the record (repeatable)");
  command->add_flag("--message", flags->message,
                    "Send the file itself, at most 64 KiB, instead of its digest (done unasked for Ed25519)");
  command->add_option("--socket", flags->socket, "The socket of a sidecar")->type_name("PATH");
  command->add_flag("--request", flags->request, "Make a SigningRequest");
  command->add_option("--name", flags->name, "Of the SigningRequest (default: after the file, with a random suffix)");
  command->add_option("-o,--output-signature", flags->output, "Write the signature there, in binary")
      ->type_name("FILE");
  command->add_option("--format", flags->format, "base64 or binary, whatever the place")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"base64", "binary"}).description(""));
  command->add_option("--encoding", flags->encoding, "ECDSA: asn1 (DER, what openssl reads; default) or p1363 (r||s)")
      ->type_name("FORM")
      ->check(CLI::IsMember({"asn1", "p1363"}).description(""));
  command->add_option("--key", flags->key, "The public key (PEM) that the signature must verify under")
      ->type_name("FILE");
  command
      ->add_option("--key-id", flags->key_id, "The ID of the key that must have signed, as the command keys shows it")
      ->type_name("HEX");
  command->add_flag("--wait", flags->wait, "Wait for the signature (default)");
  command->add_flag("!--no-wait", flags->wait, "Ask once, and do not wait");
  command->add_option("--timeout", flags->timeout, "How long to wait, such as 30s, 5m (default) or 2h")
      ->type_name("TIME");
  command->add_flag("-q,--quiet", flags->quiet, "No progress on stderr");
  AddClusterFlags(*command, flags->cluster);
  AddImpersonationFlags(*command, flags->cluster);
  AddNamespaceFlag(*command, flags->cluster);
}

base::Result<SignInput> ReadSignInput(const SignFlags& flags, std::optional<api::SignatureAlgorithm> algorithm) {
  const auto hash = algorithm ? encoding::Info(*algorithm).hash : encoding::HashAlgorithm::kSha256;
  SignInput out;
  if (!flags.digest.empty()) {
    auto digest = api::ParseDigest(flags.digest);
    if (!digest) {
      return base::MakeError(Code::kInvalidArgument, "Usage", "--digest: " + digest.error().message);
    }
    if (!hash) {
      return base::MakeError(
          Code::kInvalidArgument, "Usage",
          fmt::format("{} signs messages, not digests: give the file", encoding::Info(*algorithm).name));
    }
    out.digest = std::move(*digest);
    return out;
  }
  if (flags.message || !hash) {
    auto message = ReadAll(flags.file, api::kMaxMessageBytes);
    if (!message && message.error().reason == "TooLarge") {
      return base::MakeError(Code::kInvalidArgument, "TooLarge",
                             message.error().message + ", the most a message may have");
    }
    TRY(out.message, std::move(message));
    return out;
  }
  TRY(auto digests, HashFile(flags.file, {*hash}));
  out.digest = api::Digest{*hash, std::move(digests.begin()->second)};
  return out;
}

nlohmann::json InputJson(const SignFlags& flags, const SignInput& input) {
  nlohmann::json out = nlohmann::json::object();
  if (input.digest) out["digest"] = api::FormatDigest(*input.digest);
  if (input.message) out["message"] = encoding::ToBase64(*input.message);
  if (!flags.algorithm.empty()) out["algorithm"] = flags.algorithm;
  if (!flags.artifact.empty()) {
    out["artifact"] = {{"name", flags.artifact}};
    if (!flags.media_type.empty()) out["artifact"]["mediaType"] = flags.media_type;
    if (!flags.annotations.empty()) out["artifact"]["annotations"] = flags.annotations;
  }
  return out;
}

ExitCode Deliver(const Context& context, const SignFlags& flags, base::ByteView signature) {
  const bool binary = flags.format.empty() ? !flags.output.empty() : flags.format == "binary";
  const std::string text = binary ? std::string(base::AsText(signature)) : encoding::ToBase64(signature) + "\n";
  if (flags.output.empty()) return PrintRaw(context, text);
  if (auto written = WriteFile(flags.output, base::AsBytes(text)); !written) {
    return Fail(context, ExitCode::kFailed, written.error());
  }
  return ExitCode::kDone;
}

void Progress::Say(const std::string& line) {
  if (!quiet_ && line != last_) Note(line);
  last_ = line;
}

}  // namespace signet::cli
