#include "cli/verify.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "cli/cluster.hpp"
#include "cli/io.hpp"
#include "cli/signature_check.hpp"
#include "cli/socket.hpp"
#include "encoding/text.hpp"

namespace signet::cli {
namespace {

using base::Code;
using encoding::SignatureAlgorithm;

constexpr const char* kVerifyPurpose = R"(Verify a signature over a file, on this machine.

The public key comes from a PEM file, from a policy (through the socket or the API server) or from the status of a
SigningRequest, which also has the signature. A policy's or request's key must have the key ID that is published beside
it, and any key the one of --key-id, such as the keyID of an answer of the socket or of a line of the record. The
signature may be base64 or binary, DER or r||s. Without --algorithm, every algorithm that fits the key is tried, and the
one that fits is named.)";
constexpr const char* kVerifyFooter = R"(Examples:
  {signet} verify app.tar.gz --signature app.tar.gz.sig --key release.pem
  {signet} verify app.tar.gz --signature app.tar.gz.sig --policy release
  {signet} verify app.tar.gz --signature app.tar.gz.sig --policy release --key-id ID
  {signet} verify app.tar.gz --request app-tar-gz-x7k2p

Exit codes: 0 verified; 1 does not verify, or failed; 2 usage; 3 unreadable file, no socket, no kubeconfig.)";

constexpr std::size_t kMaxInputFile = 64 * 1024;
constexpr std::size_t kMaxMessage = 64U << 20;  // schemes that sign the message need it in memory

struct VerifyFlags {
  std::string file, signature, key, key_id, policy, request, algorithm, socket;
  ClusterFlags cluster;
};

struct Source {
  crypto::PublicKey key;
  std::string whose;      ///< for people: "of policy release"
  base::Bytes signature;  ///< as found
  std::string algorithm;  ///< "": not known
};

base::Error NoKey(const VerifyFlags& flags) {
  return base::MakeError(
      Code::kFailedPrecondition,
      fmt::format("policy {} publishes no key yet: `signet keys {}` shows why", flags.policy, flags.policy));
}

/// A key that is published with its key ID.
base::Result<crypto::PublicKey> Published(const std::string& pem, const std::string& key_id, std::string_view whose) {
  auto key = CheckKeyID(pem, key_id);
  if (key) return key;
  return base::MakeError(Code::kPermissionDenied, "SignatureRefused",
                         fmt::format("the key {}: {}: get the key of a source that you trust, and give it with --key",
                                     whose, key.error().message));
}

base::Result<crypto::PublicKey> KeyOfPolicy(const Context& context, const VerifyFlags& flags, const std::string& socket,
                                            std::string_view whose) {
  if (!socket.empty()) {
    TRY(const auto key, GetKey(http::UnixClient(socket), flags.policy));
    const std::string pem = key.value("publicKey", "");
    if (pem.empty()) return NoKey(flags);
    return Published(pem, key.value("keyID", ""), whose);
  }
  TRY(auto cluster, OpenCluster(context, flags.cluster));
  TRY(const auto found, GetPolicy(cluster, flags.policy));
  if (!found.policy.status.key) return NoKey(flags);
  return Published(found.policy.status.key->public_key, found.policy.status.key->key_id, whose);
}

base::Result<Source> FromRequest(const Context& context, const VerifyFlags& flags) {
  TRY(auto cluster, OpenCluster(context, flags.cluster));
  TRY(const auto found, GetRequest(cluster, flags.request));
  const auto& status = found.request.status;
  if (status.signature.empty()) {
    return base::MakeError(
        Code::kFailedPrecondition,
        fmt::format("SigningRequest {} is not signed: `signet show {}` shows why", flags.request, flags.request));
  }
  Source out;
  out.whose = fmt::format("in the status of SigningRequest {}", flags.request);
  TRY(out.key, Published(status.public_key, status.key_id, out.whose));
  auto signature = encoding::FromBase64(status.signature);
  if (!signature) {
    return base::MakeError(Code::kPermissionDenied, "SignatureRefused",
                           fmt::format("the signature {}: {}", out.whose, signature.error().message));
  }
  out.signature = std::move(*signature);
  out.algorithm = status.algorithm;
  return out;
}

base::Result<Source> FromFile(const VerifyFlags& flags) {
  TRY(const auto pem, ReadAll(flags.key, kMaxInputFile));
  auto key = crypto::PublicKey::FromPem(base::AsText(pem));
  if (!key) {
    return base::MakeError(Code::kInvalidArgument, "ConfigInvalid",
                           fmt::format("--key {}: the public key: {}", flags.key, key.error().message));
  }
  Source out;
  out.key = std::move(*key);
  out.whose = "in " + flags.key;
  return out;
}

base::Result<Source> FindSource(const Context& context, const VerifyFlags& flags, const std::string& socket) {
  Source out;
  if (!flags.request.empty()) {
    TRY(out, FromRequest(context, flags));
  } else if (!flags.key.empty()) {
    TRY(out, FromFile(flags));
  } else {
    out.whose = fmt::format("of policy {}", flags.policy);
    TRY(out.key, KeyOfPolicy(context, flags, socket, out.whose));
  }
  TRY_VOID(CheckPinnedID(flags.key_id, out.key));
  if (!flags.signature.empty()) {
    TRY(out.signature, ReadAll(flags.signature, kMaxInputFile));
  }
  if (!flags.algorithm.empty()) out.algorithm = flags.algorithm;
  return out;
}

std::vector<SignatureAlgorithm> Candidates(const Source& source) {
  if (const auto named = encoding::ParseSignatureAlgorithm(source.algorithm)) return {*named};
  std::vector<SignatureAlgorithm> out;
  for (const auto& info : encoding::Algorithms()) {
    if (info.key == source.key.algorithm()) out.push_back(info.algorithm);
  }
  return out;
}

/// The algorithm under which it verifies; nothing: none.
base::Result<std::optional<SignatureAlgorithm>> Check(const VerifyFlags& flags, const Source& source) {
  const auto candidates = Candidates(source);
  std::vector<encoding::HashAlgorithm> hashes;
  for (const auto one : candidates) {
    if (const auto hash = encoding::Info(one).hash) hashes.push_back(*hash);
  }
  base::Bytes message;
  std::map<encoding::HashAlgorithm, base::Bytes> digests;
  if (hashes.empty()) {
    TRY(message, ReadAll(flags.file, kMaxMessage));
  } else {
    TRY(digests, HashFile(flags.file, hashes));
  }
  const auto forms = SignatureForms(source.signature, source.key);
  for (const auto one : candidates) {
    const auto hash = encoding::Info(one).hash;
    const base::Bytes& input = hash ? digests.at(*hash) : message;
    for (const auto& form : forms) {
      if (source.key.Verify(one, input, form)) return std::optional(one);
    }
  }
  return std::optional<SignatureAlgorithm>();
}

/// What was compared, and what to do.
std::string Mismatch(const VerifyFlags& flags, const Source& source) {
  const auto candidates = Candidates(source);
  const auto fits = [&](SignatureAlgorithm one) { return encoding::Info(one).key == source.key.algorithm(); };
  if (!std::any_of(candidates.begin(), candidates.end(), fits)) {
    return fmt::format("{} is no algorithm of the key {}, which is {}: name another algorithm or key", source.algorithm,
                       source.whose, encoding::Name(source.key.algorithm()));
  }
  std::string tried;
  for (const auto one : candidates) tried += (tried.empty() ? "" : ", ") + std::string(encoding::Info(one).name);
  const std::string signature =
      flags.signature.empty() ? "the signature " + source.whose : "the signature in " + flags.signature;
  return fmt::format(
      "{} does not verify over {} with the key {}, {} (tried {}): compare file, signature and key with those of the "
      "signing; `signet audit query` shows which key signed a digest",
      signature, flags.file == "-" ? "stdin" : flags.file, source.whose, source.key.keyID(), tried);
}

ExitCode RunVerify(const Context& context, const VerifyFlags& flags) {
  const int sources = static_cast<int>(!flags.key.empty()) + static_cast<int>(!flags.policy.empty()) +
                      static_cast<int>(!flags.request.empty());
  if (sources != 1) return Fail(context, ExitCode::kUsage, "verify needs one of --key, --policy and --request");
  if (flags.signature.empty() && flags.request.empty())
    return Fail(context, ExitCode::kUsage, "verify needs --signature");
  const std::string socket = flags.policy.empty() ? "" : FindSocket(context, flags.socket);
  const auto end = [&](const base::Error& error) {
    if (error.reason == "SignatureRefused") return Fail(context, ExitCode::kFailed, error);
    if (error.reason == "FileUnreadable") return Fail(context, ExitCode::kConfiguration, error);
    return socket.empty() ? FailOf(context, error) : FailOfSocket(context, error);
  };
  const auto source = FindSource(context, flags, socket);
  if (!source) return end(source.error());
  const auto found = Check(flags, *source);
  if (!found) return end(found.error());
  if (!*found) return Fail(context, ExitCode::kFailed, Mismatch(flags, *source));
  return Print(context, fmt::format("verified with {}, key {}\n", encoding::Info(**found).name, source->key.keyID()));
}

}  // namespace

std::vector<base::Bytes> SignatureForms(base::ByteView octets, const crypto::PublicKey& key) {
  std::vector<base::Bytes> forms;
  std::string text;
  for (const auto octet : octets) {
    if (octet != ' ' && octet != '\t' && octet != '\r' && octet != '\n') text += static_cast<char>(octet);
  }
  if (auto decoded = encoding::FromBase64(text); decoded && !decoded->empty()) forms.push_back(std::move(*decoded));
  forms.push_back(base::ToBytes(octets));
  if (key.algorithm() != encoding::KeyAlgorithm::kEcdsa) return forms;
  constexpr int kBits = 8;
  const auto size = 2 * static_cast<std::size_t>((key.bits() + kBits - 1) / kBits);
  for (std::size_t i = 0, count = forms.size(); i < count; ++i) {
    if (forms[i].size() != size) continue;
    if (auto der = crypto::EcdsaP1363ToDer(forms[i])) forms.push_back(std::move(*der));
  }
  return forms;
}

void AddVerify(CLI::App& parent, Context& context) {
  auto flags = std::make_shared<VerifyFlags>();
  auto* command = AddCommand(parent, context, "verify", kVerifyPurpose, kVerifyFooter,
                             [&context, flags] { return RunVerify(context, *flags); });
  command->add_option("FILE", flags->file, "What was signed; - is stdin")->required();
  command
      ->add_option("-s,--signature", flags->signature, "The signature (default with --request: the one in its status)")
      ->type_name("FILE");
  command->add_option("--key", flags->key, "The public key, PEM")->type_name("FILE");
  command->add_option("--key-id", flags->key_id, "The key must have this ID: hex SHA-256 of the public key")
      ->type_name("ID");
  command->add_option("--policy", flags->policy, "The key of this SigningPolicy")->type_name("NAME");
  command->add_option("--request", flags->request, "Key and signature of this SigningRequest")->type_name("NAME");
  command->add_option("--algorithm", flags->algorithm, "Only this one, such as ECDSAWithSHA256")
      ->type_name("NAME")
      ->check([](const std::string& name) {
        return encoding::ParseSignatureAlgorithm(name) ? std::string() : "is no algorithm of Signet";
      });
  command->add_option("--socket", flags->socket, "The socket of a sidecar")->type_name("PATH");
  AddClusterFlags(*command, flags->cluster);
  AddImpersonationFlags(*command, flags->cluster);
  AddNamespaceFlag(*command, flags->cluster);
}

}  // namespace signet::cli
