#include "token/token_session.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "crypto/digest.hpp"
#include "obs/log.hpp"

namespace signet::token {
namespace {

using pkcs11::Consequence;

constexpr int kMaxStrikes = 3;
constexpr KeyRef kMaxKeys = 1u << 20;
constexpr std::size_t kIdSize = 16;
constexpr base::Duration kProofHolds = std::chrono::hours(1);
constexpr base::Duration kRefusalHolds = std::chrono::minutes(1);  // each try is a signature, and a line of the record
constexpr std::size_t kMaxHeld = 4096;
constexpr int kReopenAttempts = 4;  // others may be starting on the same SoftHSM folder

pkcs11::KeyQuery QueryOf(const encoding::Pkcs11Uri& uri) { return {uri.object, uri.id}; }

}  // namespace

bool TokenChoice::Fits(const pkcs11::TokenInfo& token) const {
  if (!serial.empty() && token.serial != serial) return false;
  return !uri || uri->TokenMatches(token.label, token.serial, token.manufacturer, token.model);
}

base::Status TokenSession::Open(int attempts) {
  Drop();
  const auto open = [&]() -> base::Status {
    if (!module_) {
      TRY(module_, pkcs11::Module::Load(module_path_));
    }
    auto tokens = module_->AwaitTokens([&](const pkcs11::TokenInfo& token) { return choice_.Fits(token); }, attempts);
    if (!tokens) return std::move(tokens).error();
    if (tokens->empty()) {
      return base::MakeError(base::Code::kUnavailable, "TokenNotFound",
                             choice_.uri
                                 ? "no initialised token fits " + encoding::FormatPkcs11Uri(*choice_.uri) +
                                       ": check the token's label and the module's configuration"
                                 : "the PKCS#11 module shows no initialised token: initialise one, or check the "
                                   "module's configuration");
    }
    if (tokens->size() > 1) {
      return base::MakeError(base::Code::kFailedPrecondition, "TokenAmbiguous",
                             "the PKCS#11 module shows more than one token that fits: name one (--token LABEL, or "
                             "hsm.tokens with its serial)");
    }
    token_ = tokens->front();
    return OpenSessions();
  };
  auto opened = open();
  if (!opened) {
    trouble_ = opened.error();
    const bool known = !choice_.serial.empty();  // seen before: the token is what is missing
    if (trouble_.reason == "HSMUnavailable" || (trouble_.reason.empty() && known)) trouble_.reason = "TokenNotFound";
    if (trouble_.reason.empty()) trouble_.reason = "ModuleFailed";
    return trouble_;
  }
  choice_.serial = token_.serial;
  return {};
}

/// Read-only where the token allows it; some refuse such sessions.
base::Result<pkcs11::Session> TokenSession::OpenSession() {
  using Mode = pkcs11::Session::Mode;
  auto session = pkcs11::Session::Open(module_, token_.slot, mode_);
  if (session || pkcs11::ConsequenceOf(session.error()) == Consequence::kReinitialise) return session;
  const Mode other = mode_ == Mode::kReadOnly ? Mode::kReadWrite : Mode::kReadOnly;
  auto second = pkcs11::Session::Open(module_, token_.slot, other);
  if (!second) return session;
  mode_ = other;
  return second;
}

base::Status TokenSession::OpenSessions() {
  auto session = OpenSession();
  if (!session) {
    auto error = std::move(session).error();
    const Consequence consequence = pkcs11::ConsequenceOf(error);
    if (consequence == Consequence::kBusy) {
      error.reason = "SessionLimit";
      error.message += ": the token has no session left; close others, allow more, or run fewer --workers";
    } else if (consequence != Consequence::kReinitialise) {
      error.reason = "SessionRefused";
    }
    return error;
  }
  session_ = *std::move(session);
  if (auto parent = pkcs11::Session::Open(module_, token_.slot, mode_)) {
    parent_ = *std::move(parent);
  } else if (pkcs11::ConsequenceOf(parent.error()) == Consequence::kReinitialise) {
    return parent.error();
  } else {
    // One session has to do for everything, generating keys included.
    obs::Warn("the token allows one session only", {{"token", token_.label}});
    session_.reset();
    mode_ = pkcs11::Session::Mode::kReadWrite;
    TRY(session_, OpenSession());
  }
  const auto logged_in = session_->LoggedIn();
  login_shown_ = logged_in && *logged_in;
  // Flags that say that no login is needed may be wrong: a PIN that was given is used.
  health_ = login_shown_ ? Health::kReady : Health::kWantsLogin;
  return {};
}

void TokenSession::ForgetHandles(bool forget_history) noexcept {
  held_.clear();
  for (auto& key : keys_) {
    key.handle = 0;
    if (forget_history) key.resolved_before = false;
  }
}

void TokenSession::Drop() noexcept {
  health_ = Health::kDown;
  ForgetHandles(true);
  session_.reset();
  parent_.reset();
  if (module_) module_->Finalise();
}

base::Result<bool> TokenSession::Login(base::ByteView pin) {
  if (!session_) return base::MakeError(base::Code::kUnavailable, "HSMUnavailable", "the token is not open");
  auto accepted = (parent_ ? *parent_ : *session_).Login(pin);
  if (!accepted && (token_.login_required || !pkcs11::HasNoLogin(accepted.error()))) return accepted;
  health_ = Health::kReady;
  const auto logged_in = session_->LoggedIn();
  login_shown_ = logged_in && *logged_in;
  return accepted && *accepted;
}

base::Result<pkcs11::TokenInfo> TokenSession::Refresh() {
  if (!session_) return base::MakeError(base::Code::kUnavailable, "HSMUnavailable", "the token is not open");
  TRY(token_, module_->Token(token_.slot));
  return token_;
}

bool TokenSession::Alive() const {
  if (!session_ || !module_->Token(token_.slot)) return false;
  if (!login_shown_) return true;
  const auto logged_in = session_->LoggedIn();
  return logged_in && *logged_in;
}

TokenSession::Health TokenSession::Heal(Consequence consequence) {
  if (consequence == Consequence::kFinal || consequence == Consequence::kBusy || consequence == Consequence::kPinStop) {
    return health_;
  }
  const bool full = consequence == Consequence::kReinitialise || ++strikes_ > kMaxStrikes;
  if (!full && consequence == Consequence::kSuspect && Alive()) return health_;
  if (!full && consequence == Consequence::kReplay && module_->Token(token_.slot)) {
    ForgetHandles(false);
    if (!parent_ && strikes_ == 1 && Alive()) return health_;  // the only session also carries the login
    // The new session comes before the old one goes: the login ends with the last session.
    auto session = parent_ ? pkcs11::Session::Open(module_, token_.slot, mode_) : pkcs11::TokenGone();
    if (session) {
      session_ = std::move(*session);
      if (Alive()) return health_ = Health::kReady;
    }
    parent_.reset();
    session_.reset();
    if (OpenSessions()) return health_;
  }
  strikes_ = 0;
  obs::Warn("the token is opened again", {{"token", token_.label}});
  if (!Open(kReopenAttempts)) return Health::kDown;
  return health_;
}

void TokenSession::DefineKey(KeyRef ref, KeyIdentity identity) {
  if (ref >= kMaxKeys) return;
  if (keys_.size() <= ref) keys_.resize(ref + 1);
  auto& key = keys_[ref];
  key = {};
  key.identity = std::move(identity);
  key.defined = true;
}

base::Result<pkcs11::KeyRecord> TokenSession::FindLive(const pkcs11::KeyQuery& query) const {
  auto found = session_->FindKey(query);
  // A token whose storage is gone can look like an empty one; "no such key" must not be said of it.
  if (!found && found.error().code == base::Code::kNotFound && !Alive()) return pkcs11::TokenGone();
  return found;
}

/// By what the object shows of CKA_ID and label; modules differ in what they let one search for.
base::Result<pkcs11::KeyRecord> TokenSession::FindAgain(const KeyIdentity& identity) const {
  pkcs11::KeyQuery by_id;
  pkcs11::KeyQuery by_label;
  if (!identity.id.empty()) by_id.id = identity.id;
  if (!identity.label.empty()) by_label.label = identity.label;
  auto found = FindLive({by_label.label, by_id.id});
  for (const auto& query : {by_id, by_label}) {
    if (found || found.error().code != base::Code::kNotFound || !by_id.id || !by_label.label) break;
    found = FindLive(query);
  }
  return found;
}

base::Result<ProvenKey> TokenSession::Prove(pkcs11::KeyRecord record) {
  TRY_VOID(pkcs11::CheckUsable(record));
  const auto now = base::SystemClock().Steady();
  std::erase_if(held_, [&](const Held& held) {
    return now - held.made_at >= (held.proof.verified ? kProofHolds : kRefusalHolds);
  });
  auto held = std::find_if(held_.begin(), held_.end(), [&](const Held& one) {
    return one.handle == record.handle && one.spki == record.public_key.der();
  });
  if (held == held_.end()) {
    TRY(auto proof, session_->Prove(record));
    if (held_.size() >= kMaxHeld) held_.clear();
    held = held_.insert(held_.end(), {record.handle, record.public_key.der(), std::move(proof), now});
    if (!held->proof.verified) Report(record, held->proof);
  }
  if (held->proof.verified) return ProvenKey{std::move(record), held->proof};
  return base::MakeError(
      base::Code::kFailedPrecondition, "KeyMismatch",
      fmt::format("the private key {} does not belong to the public key that the token shows beside it (keyID {}): "
                  "remove or correct the public key or certificate with its CKA_ID or label",
                  record.label, record.public_key.keyID()));
}

void TokenSession::Report(const pkcs11::KeyRecord& key, const pkcs11::PossessionProof& proof) {
  proofs_.push_back({proof.verified, key.public_key, token_.label, key.label, proof.algorithm, proof.challenge,
                     proof.signature_sha256});
}

base::Status TokenSession::Resolve(CachedKey& key) {
  TRY(pkcs11::KeyRecord record, FindAgain(key.identity));
  if (record.public_key.der() != key.identity.spki) {
    return base::MakeError(base::Code::kFailedPrecondition, "KeyChanged",
                           "another key has taken the place of the key " + key.identity.label);
  }
  TRY(const ProvenKey proven, Prove(std::move(record)));
  Report(proven.record, proven.proof);
  key.handle = proven.record.handle;
  key.bits = proven.record.public_key.bits();
  key.algorithm = proven.record.public_key.algorithm();
  key.resolved_before = true;
  return {};
}

TokenSession::Outcome TokenSession::Sign(KeyRef ref, encoding::SignatureAlgorithm algorithm, base::ByteView input) {
  if (!session_ || ref >= keys_.size() || !keys_[ref].defined) {
    return {{base::MakeError(base::Code::kUnavailable, "HSMUnavailable", "the key is not known to the worker"), true}};
  }
  CachedKey& key = keys_[ref];
  if (key.handle == 0) {
    if (auto resolved = Resolve(key); !resolved) {
      const bool lost = resolved.error().code == base::Code::kNotFound && key.resolved_before;
      return {{std::move(resolved).error(), true}, lost};
    }
  }
  if (encoding::Info(algorithm).key != key.algorithm) {
    return {{base::MakeError(base::Code::kFailedPrecondition, "MechanismMissing",
                             "the algorithm does not fit the kind of the key"),
             true}};
  }
  Outcome outcome{session_->Sign(key.handle, algorithm, key.bits, input)};
  if (outcome.sign.signature) strikes_ = 0;
  return outcome;
}

base::Result<ProvenKey> TokenSession::Find(const encoding::Pkcs11Uri& uri) {
  if (!session_) return base::MakeError(base::Code::kUnavailable, "HSMUnavailable", "the token is not open");
  if (uri.type && *uri.type != "private") {
    return base::MakeError(base::Code::kNotFound, "KeyNotFound", "the URI names no private key: leave its type out");
  }
  TRY(auto found, FindLive(QueryOf(uri)));
  TRY(auto proven, Prove(std::move(found)));
  strikes_ = 0;
  return proven;
}

base::Result<ProvenKey> TokenSession::Generate(const encoding::Pkcs11Uri& uri, const GenerateSpec& spec) {
  generate_begun_ = false;
  if (!uri.object || uri.object->empty()) {
    return base::MakeError(base::Code::kInvalidArgument, "Malformed",
                           "a key can be generated only under an object name");
  }
  if (!session_) return base::MakeError(base::Code::kUnavailable, "HSMUnavailable", "the token is not open");
  TRY(const auto existing, session_->FindPrivateKeys(QueryOf(uri), 1));
  if (!existing.empty()) {
    return base::MakeError(base::Code::kAlreadyExists, "KeyExists", "a key with this name is in the token already");
  }
  if (!Alive()) return pkcs11::TokenGone();
  const base::Bytes id = uri.id && !uri.id->empty() ? *uri.id : crypto::RandomBytes(kIdSize);
  TRY_VOID(GenerateOn(uri, spec, id));
  TRY(auto made, session_->FindKey({*uri.object, id}));
  return Prove(std::move(made));
}

base::Status TokenSession::GenerateOn(const encoding::Pkcs11Uri& uri, const GenerateSpec& spec, base::ByteView id) {
  using Mode = pkcs11::Session::Mode;
  generate_begun_ = mode_ == Mode::kReadWrite;
  if (generate_begun_) return session_->GenerateKeyPair(spec.algorithm, spec.bits, *uri.object, id);
  auto writer = pkcs11::Session::Open(module_, token_.slot, Mode::kReadWrite);
  if (!writer && pkcs11::ConsequenceOf(writer.error()) == Consequence::kBusy && parent_) {
    parent_.reset();  // the spare one makes room
    writer = pkcs11::Session::Open(module_, token_.slot, Mode::kReadWrite);
  }
  generate_begun_ = writer.has_value();
  base::Status made =
      writer ? writer->GenerateKeyPair(spec.algorithm, spec.bits, *uri.object, id) : base::Status(writer.error());
  writer = pkcs11::TokenGone();  // closes it
  if (!parent_) {
    if (auto parent = pkcs11::Session::Open(module_, token_.slot, mode_)) parent_ = *std::move(parent);
  }
  return made;
}

}  // namespace signet::token
