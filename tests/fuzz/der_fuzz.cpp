// What comes out of a token or a PEM file: signatures and public keys in DER.
#include "crypto/public_key.hpp"
#include "fuzz/fuzz.hpp"

using namespace signet;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const base::ByteView rest(data + 1, size - 1);
  switch (data[0] % 6) {
    case 0:
    case 1:
    case 2: {
      const std::size_t half = data[0] % 6 == 0 ? 32 : data[0] % 6 == 1 ? 48 : 66;
      if (const auto any = crypto::EcdsaTokenToDer(rest, half)) {
        HOLDS(crypto::EcdsaDerToP1363(*any, half).has_value());
      }
      const auto raw = crypto::EcdsaDerToP1363(rest, half);
      if (!raw) return 0;
      HOLDS(raw->size() == 2 * half);
      const auto der = crypto::EcdsaP1363ToDer(*raw);
      HOLDS(der.has_value());
      HOLDS(*crypto::EcdsaDerToP1363(*der, half) == *raw);
      return 0;
    }
    case 3: {
      const auto key = crypto::PublicKey::FromDer(rest);
      if (!key) return 0;
      HOLDS(key->keyID().size() == 64);
      const auto again = crypto::PublicKey::FromPem(key->pem());
      HOLDS(again.has_value() && again->der() == key->der() && again->keyID() == key->keyID());
      HOLDS(!key->Verify(encoding::SignatureAlgorithm::kEcdsaWithSha256, base::Bytes(32, 1), rest).has_value());
      return 0;
    }
    case 4: {
      const std::size_t cut = rest.empty() ? 0 : rest[0] % rest.size();
      (void)crypto::PublicKey::FromEcPoint(rest.subspan(0, cut), rest.subspan(cut));
      return 0;
    }
    default:
      (void)crypto::PublicKey::FromPem(base::AsText(rest));
      (void)crypto::PublicKey::FromCertificate(rest);
      return 0;
  }
}
