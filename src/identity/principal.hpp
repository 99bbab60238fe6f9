// identity/principal.hpp - who is calling: plain data, no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signet::identity {

/// How the caller's name was established. Written into every record.
enum class Proof : std::uint8_t {
  kAsserted,     ///< configuration says so (--subject, directory store)
  kAdmission,    ///< stamped by our admission webhook
  kTokenReview,  ///< the API server reviewed a pod-bound token
};

/// "asserted", "admission", "tokenReview".
std::string_view Name(Proof proof);

/// A Kubernetes user as in authentication.k8s.io UserInfo.
struct Principal {
  std::string username;  ///< system:serviceaccount:NAMESPACE:NAME for service accounts
  std::string uid;       ///< may be empty
  std::vector<std::string> groups;
  std::map<std::string, std::vector<std::string>> extra;
  Proof proof = Proof::kAsserted;
};

struct ServiceAccountName {
  std::string_view ns;
  std::string_view name;
};

/// The parts of system:serviceaccount:NAMESPACE:NAME; nothing for every other user name.
/// The views live as long as `username`.
std::optional<ServiceAccountName> ParseServiceAccount(std::string_view username);

/// What the kernel says of the process at the other end of a Unix socket (SO_PEERCRED).
struct PeerInfo {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int32_t pid = 0;  ///< for logs only: process ids are reused
};

}  // namespace signet::identity
