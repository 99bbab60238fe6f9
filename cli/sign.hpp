// cli/sign.hpp - `signet sign`: through the socket, or as a SigningRequest.
//
// Thread-safety: none.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/types.hpp"
#include "cli/cluster.hpp"
#include "cli/context.hpp"

namespace signet::cli {

struct SignFlags {
  std::string file;    ///< "-": stdin; "" with digest
  std::string digest;  ///< "sha256:..."
  std::string policy, algorithm, artifact, media_type;
  std::map<std::string, std::string> annotations;
  bool message = false;
  std::string socket;
  bool request = false;
  std::string name;    ///< of the SigningRequest
  std::string output;  ///< file; "": stdout
  std::string format;  ///< base64, binary; "": base64 to stdout, binary to a file
  std::string encoding = "asn1";
  std::string key;     ///< file of the public key that the signature must verify under; "": the published one
  std::string key_id;  ///< the key that must sign; "": any of the policy
  bool wait = true;
  std::string timeout = "5m";
  bool quiet = false;
  ClusterFlags cluster;
};

void AddSign(CLI::App& parent, Context& context);

/// One digest or one message, ready to be sent.
struct SignInput {
  std::optional<api::Digest> digest;
  std::optional<base::Bytes> message;
};
/// @param algorithm  what will sign; nothing: not known, which means SHA-256
/// @return also kInvalidArgument: the algorithm signs messages and there is only a digest, or the file is too large for
/// one
base::Result<SignInput> ReadSignInput(const SignFlags& flags, std::optional<api::SignatureAlgorithm> algorithm);
/// {digest | message, algorithm?, artifact?}: what the socket's body and a SigningRequest's spec share.
nlohmann::json InputJson(const SignFlags& flags, const SignInput& input);

/// Signature octets to stdout or the file that the flags name.
ExitCode Deliver(const Context& context, const SignFlags& flags, base::ByteView signature);

/// A line when something has changed; nothing under --quiet.
class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet) {}
  void Say(const std::string& line);

 private:
  bool quiet_;
  std::string last_;
};

ExitCode SignThroughSocket(const Context& context, const SignFlags& flags, const std::string& socket,
                           std::chrono::milliseconds timeout);
ExitCode SignAsRequest(const Context& context, const SignFlags& flags, std::chrono::milliseconds timeout);

}  // namespace signet::cli
