// signing/folder_policies.hpp - policies from a folder of YAML, for doors that see no API server.
//
// A file at a time (policy_set.hpp): a removed or suspended policy is out of force whatever else is wrong in the
// folder; State().problem says what is. At start, everything must be right. Manifests of other kinds are ignored.
//
// Keys: bound by token::Hsm::Find, tried again while absent, looked at again every half minute. The first
//       key found for a spec is pinned by its keyID: another one under the same URI is KeyChanged until
//       the spec is edited. Keys are never generated here.
//
// Freshness: confirmed_at moves with every look that finds the policy in files that can be read as they are. What
// cannot
//            be read - a document, a file, the folder - makes what it said stale after the service's policy_max_age.
//
// Revisions: metadata.uid as written (may be empty); metadata.generation begins at what is written (or
//            1) and grows with every change of the spec seen by this process.
//
// Ownership:     borrows reactor, clock and hsm; they must outlive it.
// Thread-safety: reactor thread only.
// Blocking:      reads small local files on the loop, when they have changed.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "base/clock.hpp"
#include "base/reactor.hpp"
#include "base/result.hpp"
#include "signing/service.hpp"
#include "token/hsm.hpp"

namespace signet::signing {

class FolderPolicies : public PolicySource {
 public:
  struct Options {
    std::filesystem::path folder;
    std::chrono::milliseconds poll{1'000};  ///< [10 ms, 60 s]
    /// Where the pinned keyIDs survive a restart; empty: they do not.
    std::filesystem::path state_dir;
  };
  struct Health {
    std::size_t policies = 0;
    std::size_t keys_ready = 0;
    std::string problem;  ///< what in the folder cannot be used; empty: nothing
  };

  /// Reads the folder once and begins to look at it.
  /// @return kFailedPrecondition reason PoliciesNotFound: no such folder, or not readable
  ///         kInvalidArgument    reason PoliciesInvalid: a policy is wrong; message names file and line
  ///                             reason StateInvalid: the pins in state_dir are not ours
  static base::Result<std::unique_ptr<FolderPolicies>> Open(Options options, base::Reactor& reactor,
                                                            const base::Clock& clock, token::Hsm& hsm);

  [[nodiscard]] virtual Health State() const = 0;
  /// Looks for missing keys now: to be called when the HSM becomes ready.
  virtual void RetryKeys() = 0;
};

}  // namespace signet::signing
