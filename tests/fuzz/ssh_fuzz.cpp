// What an approver sends, and what stands in a file of approvers: SSH signatures and public keys.
#include "crypto/ssh_key.hpp"
#include "crypto/ssh_signature.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

namespace {

void Key(std::string_view text) {
  const auto key = crypto::SshPublicKey::Parse(text);
  if (!key) return;
  HOLDS(key->bits() >= 256 && key->bits() <= 8192);
  HOLDS(key->fingerprint().size() == 50 && key->fingerprint().starts_with("SHA256:"));
  const auto again = crypto::SshPublicKey::Parse(key->Line());
  HOLDS(again.has_value() && again->SameKey(*key) && again->comment() == key->comment());
  const auto blob = crypto::SshPublicKey::FromBlob(key->blob());
  HOLDS(blob.has_value() && blob->SameKey(*key));
}

void Signature(std::string_view text) {
  const auto signature = crypto::ParseSshSignature(text);
  if (!signature) return;
  HOLDS(!signature->key.empty() && !signature->signature_namespace.empty() && !signature->signature.empty());
  HOLDS(signature->algorithm != "ssh-rsa");
  // The corpus signs "message"; this one nobody has signed.
  const auto status = crypto::VerifySshSignature(*signature, signature->key, signature->signature_namespace,
                                                 base::AsBytes("a message that nobody has signed"));
  HOLDS(!status.has_value() && status.error().code == base::Code::kPermissionDenied);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::AsInput(data, size);
  if (text.starts_with("-")) {
    Signature(text);
  } else {
    Key(text);
  }
  return 0;
}
