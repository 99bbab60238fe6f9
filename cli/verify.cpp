#include "cli/verify.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "api/json.hpp"
#include "cli/cluster.hpp"
#include "cli/io.hpp"
#include "cli/socket.hpp"
#include "encoding/text.hpp"

namespace signet::cli {
namespace {

using base::Code;
using encoding::SignatureAlgorithm;

constexpr const char* kPurpose = R"(Verify a signature over a file, on this machine.

The public key comes from a PEM file, from a policy (through the socket or the API server) or from the status of a
SigningRequest, which also has the signature. The signature may be base64 or binary, DER or r||s. Without --algorithm,
every algorithm that fits the key is tried, and the one that fits is named.)";
constexpr const char* kFooter = R"(Examples:
  {signet} verify app.tar.gz --signature app.tar.gz.sig --key release.pem
  {signet} verify app.tar.gz --signature app.tar.gz.sig --policy release
  {signet} verify app.tar.gz --request app-tar-gz-x7k2p

Exit codes: 0 verified; 1 does not verify, or failed; 2 usage; 3 unreadable file, no socket, no kubeconfig.)";

constexpr std::size_t kMaxSignature = 64 * 1024;
constexpr std::size_t kMaxMessage = 64U << 20;  // schemes that sign the message need it in memory

struct Flags {
  std::string file, signature, key, policy, request, algorithm, socket;
  ClusterFlags cluster;
};

struct Source {
  crypto::PublicKey key;
  base::Bytes signature;  ///< as found
  std::string algorithm;  ///< "": not known
};

base::Result<std::string> PemOf(const Context& context, const Flags& flags, const std::string& socket) {
  if (!flags.key.empty()) {
    TRY(const auto pem, ReadAll(flags.key, kMaxSignature));
    return std::string(base::AsText(pem));
  }
  if (!socket.empty()) {
    TRY(const auto key, GetKey(http::UnixClient(socket), flags.policy));
    return key.value("publicKey", "");
  }
  TRY(auto cluster, OpenCluster(context, flags.cluster));
  TRY(const auto found, GetPolicy(cluster, flags.policy));
  if (found.policy.status.key) return found.policy.status.key->public_key;
  return base::MakeError(Code::kFailedPrecondition, fmt::format("policy {} has no key yet", flags.policy));
}

base::Result<Source> FromRequest(const Context& context, const Flags& flags) {
  TRY(auto cluster, OpenCluster(context, flags.cluster));
  TRY(const auto found, GetRequest(cluster, flags.request));
  const auto& status = found.request.status;
  if (status.signature.empty()) {
    return base::MakeError(Code::kFailedPrecondition, fmt::format("SigningRequest {} is not signed", flags.request));
  }
  Source out;
  TRY(out.key, crypto::PublicKey::FromPem(status.public_key));
  TRY(out.signature, encoding::FromBase64(status.signature));
  out.algorithm = status.algorithm;
  return out;
}

base::Result<Source> FindSource(const Context& context, const Flags& flags, const std::string& socket) {
  Source out;
  if (!flags.request.empty()) {
    TRY(out, FromRequest(context, flags));
  } else {
    TRY(const auto pem, PemOf(context, flags, socket));
    auto key = crypto::PublicKey::FromPem(pem);
    if (!key) return base::MakeError(Code::kInvalidArgument, "ConfigInvalid", "the public key: " + key.error().message);
    out.key = std::move(*key);
  }
  if (!flags.signature.empty()) {
    TRY(out.signature, ReadAll(flags.signature, kMaxSignature));
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
base::Result<std::optional<SignatureAlgorithm>> Check(const Flags& flags, const Source& source) {
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

ExitCode Run(const Context& context, const Flags& flags) {
  const int sources = static_cast<int>(!flags.key.empty()) + static_cast<int>(!flags.policy.empty()) +
                      static_cast<int>(!flags.request.empty());
  if (sources != 1) return Fail(context, ExitCode::kUsage, "verify needs one of --key, --policy and --request");
  if (flags.signature.empty() && flags.request.empty())
    return Fail(context, ExitCode::kUsage, "verify needs --signature");
  const std::string socket = flags.policy.empty() ? "" : FindSocket(context, flags.socket);
  const auto end = [&](const base::Error& error) {
    if (error.reason == "FileUnreadable") return Fail(context, ExitCode::kConfiguration, error);
    return socket.empty() ? FailOf(context, error) : FailOfSocket(context, error);
  };
  const auto source = FindSource(context, flags, socket);
  if (!source) return end(source.error());
  const auto found = Check(flags, *source);
  if (!found) return end(found.error());
  if (!*found) {
    return Fail(
        context, ExitCode::kFailed,
        fmt::format("the signature does not verify: not this file, not this key ({}), or not {}",
                    source->key.keyID().substr(0, 16), source->algorithm.empty() ? "a signature" : source->algorithm));
  }
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
  auto flags = std::make_shared<Flags>();
  auto* command =
      AddCommand(parent, context, "verify", kPurpose, kFooter, [&context, flags] { return Run(context, *flags); });
  command->add_option("FILE", flags->file, "What was signed; - is stdin")->required();
  command
      ->add_option("-s,--signature", flags->signature, "The signature (default with --request: the one in its status)")
      ->type_name("FILE");
  command->add_option("--key", flags->key, "The public key, PEM")->type_name("FILE");
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
