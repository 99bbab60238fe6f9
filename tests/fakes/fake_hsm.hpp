// tests/fakes/fake_hsm.hpp - keys in memory that really sign (OpenSSL), and misbehave on demand.
#pragma once

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/reactor.hpp"
#include "token/hsm.hpp"

namespace signet::testing {

/// A private key that only tests may have.
class TestKey {
 public:
  static TestKey Ec() { return TestKey(EVP_EC_gen("P-256")); }
  static TestKey Rsa() { return TestKey(EVP_RSA_gen(2048)); }
  static TestKey Ed25519() { return TestKey(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")); }

  [[nodiscard]] crypto::PublicKey public_key() const {
    unsigned char* der = nullptr;
    const int size = i2d_PUBKEY(key_.get(), &der);
    const base::Bytes bytes(der, der + size);
    OPENSSL_free(der);
    return *crypto::PublicKey::FromDer(bytes);
  }

  [[nodiscard]] base::Bytes Sign(encoding::SignatureAlgorithm algorithm, base::ByteView input) const {
    const auto& info = encoding::Info(algorithm);
    base::Bytes signature(1024);
    std::size_t size = signature.size();
    if (!info.hash) {
      const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
      EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get());
      EVP_DigestSign(context.get(), signature.data(), &size, input.data(), input.size());
    } else {
      const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(EVP_PKEY_CTX_new(key_.get(), nullptr),
                                                                                EVP_PKEY_CTX_free);
      EVP_PKEY_sign_init(context.get());
      EVP_PKEY_CTX_set_signature_md(context.get(),
                                    EVP_get_digestbyname(std::string(encoding::Name(*info.hash)).c_str()));
      if (info.padding == encoding::Padding::kPss) {
        EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(context.get(), RSA_PSS_SALTLEN_DIGEST);
      }
      EVP_PKEY_sign(context.get(), signature.data(), &size, input.data(), input.size());
    }
    signature.resize(size);
    return signature;
  }

 private:
  explicit TestKey(EVP_PKEY* key) : key_(key, EVP_PKEY_free) {}
  std::shared_ptr<EVP_PKEY> key_;
};

class FakeHsm final : public token::Hsm {
 public:
  explicit FakeHsm(base::Reactor& reactor) : reactor_(reactor) {}

  token::KeyInfo Add(const TestKey& key) {
    keys_.push_back(key);
    token::KeyInfo info;
    info.ref = static_cast<token::KeyRef>(keys_.size());
    info.public_key = key.public_key();
    info.token_label = "test";
    info.sensitive = info.never_extractable = info.local = info.can_sign = true;
    info.extractable = false;
    for (const auto& row : encoding::Algorithms()) {
      if (row.key == info.public_key.algorithm()) info.mechanisms.push_back(row.algorithm);
    }
    return info;
  }

  void Find(const encoding::Pkcs11Uri&, Callback<token::KeyInfo> done) override {
    reactor_.Post([done] { done(base::MakeError(base::Code::kNotFound, "KeyNotFound", "no such key")); });
  }
  void Generate(const encoding::Pkcs11Uri&, const token::GenerateSpec&, Callback<token::KeyInfo> done) override {
    reactor_.Post([done] { done(base::MakeError(base::Code::kUnimplemented, "not in this fake")); });
  }
  void Sign(token::KeyRef key, encoding::SignatureAlgorithm algorithm, base::ByteView input,
            Callback<base::Bytes> done) override {
    ++signs;
    if (before_sign) before_sign();
    base::Result<base::Bytes> result =
        error ? base::Result<base::Bytes>(*error) : base::Result<base::Bytes>(keys_.at(key - 1).Sign(algorithm, input));
    if (result && spoil) (*result)[result->size() / 2] ^= 1;
    if (hold) {
      held_.emplace_back(std::move(done), std::move(result));
      return;
    }
    reactor_.Post([done = std::move(done), result = std::move(result)] { done(result); });
  }
  /// Answers what `hold` kept back.
  void ReleaseHeld() {
    for (auto& [done, result] : std::exchange(held_, {})) done(std::move(result));
  }
  [[nodiscard]] token::HsmState State() const override { return state; }
  [[nodiscard]] token::HsmState StateOf(token::KeyRef key) const override {
    const auto own = states.find(key);
    return own == states.end() ? state : own->second;
  }
  void OnStateChange(std::function<void()>) override {}

  int signs = 0;
  std::function<void()> before_sign;
  std::optional<base::Error> error;
  bool spoil = false;  ///< signatures do not verify
  bool hold = false;
  token::HsmState state{true, "", "", 1, 1};
  std::map<token::KeyRef, token::HsmState> states;  ///< of keys in another token than the rest

 private:
  base::Reactor& reactor_;
  std::vector<TestKey> keys_;
  std::deque<std::pair<Callback<base::Bytes>, base::Result<base::Bytes>>> held_;
};

}  // namespace signet::testing
