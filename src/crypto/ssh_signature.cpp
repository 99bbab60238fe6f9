#include "crypto/ssh_signature.hpp"

#include <algorithm>

#include "crypto/digest.hpp"
#include "crypto/ssh_wire.hpp"
#include "encoding/text.hpp"

namespace signet::crypto {
namespace {

using base::Bytes;
using base::ByteView;
using base::Code;
using base::MakeError;
using base::Result;
using encoding::HashAlgorithm;

constexpr std::string_view kBegin = "-----BEGIN SSH SIGNATURE-----";
constexpr std::string_view kEnd = "-----END SSH SIGNATURE-----";
constexpr std::string_view kMagic = "SSHSIG";
constexpr std::size_t kMaxColumn = 76;

base::Error Malformed(const std::string& what) {
  return MakeError(Code::kInvalidArgument, "MalformedSignature", "not an SSH signature: " + what);
}
base::Error Malformed(const base::Error& error) { return Malformed(error.message); }

/// The next line of `text` without its end; nothing when there is no line end.
bool TakeLine(std::string_view& text, std::string_view& line) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return false;
  line = text.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  text.remove_prefix(end + 1);
  return true;
}

Result<Bytes> Unarmor(std::string_view text) {
  if (text.size() > kMaxSshSignature) return Malformed("longer than 16 KiB");
  std::string_view line;
  if (!TakeLine(text, line) || line != kBegin) return Malformed("it does not begin with " + std::string(kBegin));
  std::string base64;
  while (TakeLine(text, line)) {
    if (line == kEnd) break;
    if (line.empty() || line.size() > kMaxColumn) return Malformed("a line is empty or too long");
    base64 += line;
    line = {};
  }
  if (line != kEnd) {  // the end line may be the end of the file
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text != kEnd) return Malformed("it does not end with " + std::string(kEnd));
  } else if (!text.empty()) {
    return Malformed("something stands behind its end");
  }
  auto blob = encoding::FromBase64(base64);
  if (!blob) return Malformed("its text is not base64");
  return blob;
}

Result<HashAlgorithm> ReadHash(ByteView name) {
  if (base::AsText(name) == "sha256") return HashAlgorithm::kSha256;
  if (base::AsText(name) == "sha512") return HashAlgorithm::kSha512;
  return Malformed("its hash is neither sha256 nor sha512");
}

bool IsNamespace(std::string_view text) {
  return !text.empty() && text.size() <= kMaxSshNamespace &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

/// Field by field; errors of the reader get their reason in the caller.
Result<SshSignature> ReadBlob(ByteView blob) {
  SshReader reader(blob);
  TRY(const ByteView magic, reader.Raw(kMagic.size()));
  if (base::AsText(magic) != kMagic) return Malformed("no SSHSIG at its start");
  TRY(const std::uint32_t version, reader.U32());
  if (version != 1) return Malformed("its version is not 1");
  TRY(const ByteView key, reader.String());
  TRY(const ByteView name_space, reader.String());
  TRY(const ByteView reserved, reader.String());
  TRY(const ByteView hash, reader.String());
  TRY(const ByteView outer, reader.String());
  if (!reader.AtEnd()) return Malformed("something stands behind its last field");
  if (!reserved.empty()) return Malformed("its reserved field is in use: a newer kind of signature");
  if (!IsNamespace(base::AsText(name_space))) return Malformed("its namespace is empty, too long or not printable");
  SshSignature result;
  TRY(result.key, SshPublicKey::FromBlob(key));
  TRY(result.hash, ReadHash(hash));
  result.signature_namespace = base::AsText(name_space);
  SshReader inner(outer);
  TRY(const ByteView algorithm, inner.String());
  TRY(const ByteView signature, inner.String());
  if (!inner.AtEnd()) return Malformed("something stands behind the inner signature");
  result.algorithm = base::AsText(algorithm);
  result.signature = base::ToBytes(signature);
  return result;
}

/// What is signed: PROTOCOL.sshsig section 3.
Bytes SignedData(std::string_view name_space, HashAlgorithm hash, ByteView message) {
  Bytes data = base::ToBytes(base::AsBytes(kMagic));
  AppendSshString(data, base::AsBytes(name_space));
  AppendSshString(data, {});
  AppendSshString(data, base::AsBytes(encoding::Name(hash)));
  AppendSshString(data, Hash(hash, message));
  return data;
}

base::Error Denied(std::string reason, std::string message) {
  return MakeError(Code::kPermissionDenied, std::move(reason), std::move(message));
}

}  // namespace

Result<SshSignature> ParseSshSignature(std::string_view armored) {
  TRY(const Bytes blob, Unarmor(armored));
  auto result = ReadBlob(blob);
  if (!result && result.error().reason.empty()) return Malformed(result.error());
  if (!result) return result;
  // What no key could have made is malformed, not merely wrong: nobody has to carry it further.
  const auto form = result->key.CheckForm(result->algorithm, result->signature);
  if (!form) return Malformed(form.error());
  return result;
}

base::Status VerifySshSignature(const SshSignature& signature, const SshPublicKey& expected,
                                std::string_view expected_namespace, ByteView message) {
  if (!IsNamespace(expected_namespace)) return Malformed("the expected namespace is empty, too long or not printable");
  if (signature.hash != HashAlgorithm::kSha256 && signature.hash != HashAlgorithm::kSha512) {
    return Malformed("its hash is neither sha256 nor sha512");
  }
  if (expected.empty() || !signature.key.SameKey(expected)) {
    return Denied("WrongKey", "the signature was made with another key" +
                                  (signature.key.empty() ? std::string() : ": " + signature.key.fingerprint()));
  }
  if (signature.signature_namespace != expected_namespace) {
    return Denied("WrongNamespace", "the signature was made for the namespace \"" + signature.signature_namespace +
                                        "\": sign with -n " + std::string(expected_namespace));
  }
  const auto verified = expected.VerifyRaw(signature.algorithm, SignedData(expected_namespace, signature.hash, message),
                                           signature.signature);
  if (!verified && verified.error().code == Code::kInvalidArgument) return Malformed(verified.error());
  return verified;
}

}  // namespace signet::crypto
