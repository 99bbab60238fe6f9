// config/options.hpp - the options that both programs share, from a YAML file and flags.
//
// Defaults stand in these structs and nowhere else; examples/*.yaml explain every key, and a test holds
// the two together. Flags override the file.
//
// Thread-safety: values.
// Errors:        kInvalidArgument, reason "ConfigInvalid": exit code 3.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "audit/journal.hpp"
#include "base/result.hpp"
#include "obs/log.hpp"
#include "token/worker_hsm.hpp"

namespace signet::config {

class Reader;

struct TokenOption {
  std::string uri;  ///< pkcs11: with token, serial, manufacturer and model only
  std::string pin_file;
};

/// `tokens`, or `pin_file` alone (the module shows one initialised token), or `pin_file` and `token_label`.
struct HsmOptions {
  std::string module;
  std::vector<TokenOption> tokens;
  std::string pin_file;
  std::string token_label;
  std::uint32_t workers = 2;
  std::string state_dir;
  std::chrono::milliseconds sign_timeout{10'000};
  std::chrono::milliseconds generate_timeout{120'000};
};

struct AuditOptions {
  std::string file;
  audit::Durability durability = audit::Durability::kProcess;
  std::uint64_t segment_bytes = 64ULL << 20;
  bool to_stdout = false;  ///< every line also on stdout
};

struct LogOptions {
  obs::Level level = obs::Level::kInfo;
  bool text = false;
};

void ReadHsm(Reader section, HsmOptions& out);
void ReadAudit(Reader section, AuditOptions& out);
void ReadLog(Reader section, LogOptions& out);

/// What the worker processes are to be told.
/// @return "ConfigInvalid": no module file, no PIN source, both forms at once, a token named twice
base::Result<token::WorkerHsmOptions> ToWorkerHsmOptions(const HsmOptions& options);
/// Where refused PINs are remembered: stateDir, or beside the record.
std::string PinStateFolder(const HsmOptions& hsm, const AuditOptions& audit);
/// With to_stdout it starts the copying: call it once.
audit::Journal::Options ToJournalOptions(const AuditOptions& options);
void Apply(const LogOptions& options);

base::Result<audit::Durability> ParseDurability(std::string_view text);

/// The one YAML document of a configuration file of at most 1 MiB.
base::Result<nlohmann::json> LoadConfigFile(const std::string& path);

/// An address of this machine's loopback interface: 127.0.0.1:PORT. kInvalidArgument otherwise.
base::Status ValidateLoopback(std::string_view what, std::string_view address);
/// Any address: HOST:PORT. kInvalidArgument otherwise.
base::Status ValidateAddress(std::string_view what, std::string_view address);

}  // namespace signet::config
