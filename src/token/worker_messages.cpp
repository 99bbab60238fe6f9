#include "token/worker_messages.hpp"

namespace signet::token {
namespace {

void WriteToken(FrameWriter& writer, const pkcs11::TokenInfo& token) {
  writer.U64(token.slot).Text(token.label).Text(token.manufacturer).Text(token.model).Text(token.serial);
  writer.Bool(token.initialised).Bool(token.login_required).Bool(token.user_pin_initialised);
  writer.Bool(token.pin_count_low).Bool(token.pin_final_try).Bool(token.pin_locked).Bool(token.pin_pad);
  writer.U64(token.min_pin).U64(token.max_pin);
}

pkcs11::TokenInfo ReadToken(FrameReader& reader) {
  pkcs11::TokenInfo token;
  token.slot = static_cast<pkcs11::SlotId>(reader.U64());
  token.label = reader.Text();
  token.manufacturer = reader.Text();
  token.model = reader.Text();
  token.serial = reader.Text();
  token.initialised = reader.Bool();
  token.login_required = reader.Bool();
  token.user_pin_initialised = reader.Bool();
  token.pin_count_low = reader.Bool();
  token.pin_final_try = reader.Bool();
  token.pin_locked = reader.Bool();
  token.pin_pad = reader.Bool();
  token.min_pin = reader.U64();
  token.max_pin = reader.U64();
  return token;
}

void WriteFile(FrameWriter& writer, const FileIdentity& file) {
  writer.U64(file.device).U64(file.inode).U64(file.size).U64(static_cast<std::uint64_t>(file.mtime_ns));
}

FileIdentity ReadFile(FrameReader& reader) {
  FileIdentity file;
  file.device = reader.U64();
  file.inode = reader.U64();
  file.size = reader.U64();
  file.mtime_ns = static_cast<std::int64_t>(reader.U64());
  return file;
}

base::Result<encoding::SignatureAlgorithm> ReadAlgorithm(FrameReader& reader) {
  const std::uint8_t number = reader.U8();
  if (number < encoding::Algorithms().size()) return static_cast<encoding::SignatureAlgorithm>(number);
  return base::MakeError(base::Code::kInternal, "a worker named an algorithm that there is not");
}

}  // namespace

void Write(FrameWriter& writer, const ConfigureMessage& message) {
  writer.Text(message.module).Text(message.token_uri).Text(message.token_serial);
  writer.Text(message.pin_file);
}

ConfigureMessage ReadConfigure(FrameReader& reader) {
  ConfigureMessage message;
  message.module = reader.Text();
  message.token_uri = reader.Text();
  message.token_serial = reader.Text();
  message.pin_file = reader.Text();
  return message;
}

void Write(FrameWriter& writer, const StatusMessage& message) {
  writer.Err(message.trouble);
  WriteToken(writer, message.token);
}

StatusMessage ReadStatus(FrameReader& reader) {
  StatusMessage message;
  message.trouble = reader.Err();
  message.token = ReadToken(reader);
  return message;
}

void Write(FrameWriter& writer, const PinReadMessage& message) {
  writer.Bool(message.read).Err(message.trouble);
  WriteFile(writer, message.file);
  writer.Text(message.fingerprint);
  WriteToken(writer, message.token);
}

PinReadMessage ReadPinRead(FrameReader& reader) {
  PinReadMessage message;
  message.read = reader.Bool();
  message.trouble = reader.Err();
  message.file = ReadFile(reader);
  message.fingerprint = reader.Text();
  message.token = ReadToken(reader);
  return message;
}

void Write(FrameWriter& writer, const LoginResultMessage& message) {
  writer.Bool(message.tried).U8(static_cast<std::uint8_t>(message.outcome)).Err(message.trouble);
}

LoginResultMessage ReadLoginResult(FrameReader& reader) {
  LoginResultMessage message;
  message.tried = reader.Bool();
  const std::uint8_t outcome = reader.U8();
  message.outcome = outcome < static_cast<std::uint8_t>(LoginOutcome::kUnanswered) && reader.ok()
                        ? static_cast<LoginOutcome>(outcome)
                        : LoginOutcome::kUnanswered;
  message.trouble = reader.Err();
  return message;
}

void Write(FrameWriter& writer, const KeyIdentity& identity) {
  writer.Text(identity.label).Octets(identity.id).Octets(identity.spki);
}

KeyIdentity ReadKeyIdentity(FrameReader& reader) {
  KeyIdentity identity;
  identity.label = reader.Text();
  identity.id = base::ToBytes(reader.Octets());
  identity.spki = base::ToBytes(reader.Octets());
  return identity;
}

void Write(FrameWriter& writer, const ProvenKey& key) {
  const auto& record = key.record;
  writer.Text(record.label).Octets(record.id).Octets(record.public_key.der());
  writer.Bool(record.sensitive).Bool(record.extractable).Bool(record.never_extractable).Bool(record.local);
  writer.Bool(record.can_sign).Bool(record.always_authenticate);
  std::uint32_t algorithms = 0;
  for (const auto algorithm : record.algorithms) algorithms |= 1u << static_cast<unsigned>(algorithm);
  writer.U32(algorithms);
  writer.U8(static_cast<std::uint8_t>(key.proof.algorithm)).Text(key.proof.challenge).Text(key.proof.signature_sha256);
}

base::Result<ProvenKey> ReadProvenKey(FrameReader& reader) {
  ProvenKey key;
  auto& record = key.record;
  record.label = reader.Text();
  record.id = base::ToBytes(reader.Octets());
  TRY(record.public_key, crypto::PublicKey::FromDer(reader.Octets()));
  record.sensitive = reader.Bool();
  record.extractable = reader.Bool();
  record.never_extractable = reader.Bool();
  record.local = reader.Bool();
  record.can_sign = reader.Bool();
  record.always_authenticate = reader.Bool();
  const std::uint32_t algorithms = reader.U32();
  for (const auto& info : encoding::Algorithms()) {
    if ((algorithms >> static_cast<unsigned>(info.algorithm) & 1u) != 0) record.algorithms.push_back(info.algorithm);
  }
  TRY(key.proof.algorithm, ReadAlgorithm(reader));
  key.proof.challenge = reader.Text();
  key.proof.signature_sha256 = reader.Text();
  if (!reader.ok()) return base::MakeError(base::Code::kInternal, "a worker sent a key that cannot be read");
  return key;
}

void Write(FrameWriter& writer, const KeyProof& proof) {
  writer.Bool(proof.verified).Octets(proof.public_key.der()).Text(proof.token_label).Text(proof.key_label);
  writer.U8(static_cast<std::uint8_t>(proof.algorithm)).Text(proof.challenge).Text(proof.signature_sha256);
}

base::Result<KeyProof> ReadKeyProof(FrameReader& reader) {
  KeyProof proof;
  proof.verified = reader.Bool();
  TRY(proof.public_key, crypto::PublicKey::FromDer(reader.Octets()));
  proof.token_label = reader.Text();
  proof.key_label = reader.Text();
  TRY(proof.algorithm, ReadAlgorithm(reader));
  proof.challenge = reader.Text();
  proof.signature_sha256 = reader.Text();
  if (!reader.ok()) return base::MakeError(base::Code::kInternal, "a worker sent a proof that cannot be read");
  return proof;
}

}  // namespace signet::token
