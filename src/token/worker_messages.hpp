// token/worker_messages.hpp - the bodies of the rarer frames as structs. Private to src/token.
#pragma once

#include <optional>
#include <string>

#include "pkcs11/module.hpp"
#include "pkcs11/session.hpp"
#include "token/frame.hpp"
#include "token/pin_file.hpp"
#include "token/pin_guard.hpp"
#include "token/token_session.hpp"

namespace signet::token {

struct ConfigureMessage {
  std::string module, token_uri, token_serial, pin_file;
};
void Write(FrameWriter& writer, const ConfigureMessage& message);
ConfigureMessage ReadConfigure(FrameReader& reader);

/// Where a worker stands; the phase is in the header.
struct StatusMessage {
  base::Error trouble;  ///< kDown
  pkcs11::TokenInfo token;
};
void Write(FrameWriter& writer, const StatusMessage& message);
StatusMessage ReadStatus(FrameReader& reader);

struct PinReadMessage {
  bool read = false;
  base::Error trouble;      ///< !read
  FileIdentity file;        ///< only to notice that the file has changed
  std::string fingerprint;  ///< PinFingerprint; read
  pkcs11::TokenInfo token;  ///< with its flags as they are now
};
void Write(FrameWriter& writer, const PinReadMessage& message);
PinReadMessage ReadPinRead(FrameReader& reader);

struct LoginResultMessage {
  bool tried = false;  ///< false: the PIN or the token was not there any more
  LoginOutcome outcome = LoginOutcome::kUncounted;
  base::Error trouble;  ///< an empty message: the worker is logged in
};
void Write(FrameWriter& writer, const LoginResultMessage& message);
LoginResultMessage ReadLoginResult(FrameReader& reader);

void Write(FrameWriter& writer, const KeyIdentity& identity);
KeyIdentity ReadKeyIdentity(FrameReader& reader);

/// A found key: everything but the handle, which means nothing outside its worker.
void Write(FrameWriter& writer, const ProvenKey& key);
base::Result<ProvenKey> ReadProvenKey(FrameReader& reader);

void Write(FrameWriter& writer, const KeyProof& proof);
base::Result<KeyProof> ReadKeyProof(FrameReader& reader);

}  // namespace signet::token
