// reconcile/pin_secret.hpp - the PinMemory that an operator's replicas share: Secret signet-pin in their namespace.
//
// One member of `data` per token. Every write has the resourceVersion that was read as its precondition, so that of
// several replicas one gets the turn to try a PIN. Removing the Secret, or a member, forgets what was refused.
//
// Thread-safety: any thread.
// Blocking:      two store calls, more while others write at the same time.
// Errors:        kUnavailable/StateUnwritable: the Secret cannot be read or written.
#pragma once

#include <string>
#include <string_view>

#include "kube/object_store.hpp"
#include "token/pin_memory.hpp"

namespace signet::reconcile {

inline constexpr std::string_view kPinSecret = "signet-pin";

class SecretPinMemory final : public token::PinMemory {
 public:
  /// `store` must outlive it. `pod_uid`: of the pod in which this is the one operator; empty: not known. The
  /// container's next process then knows that the one before it has ended.
  SecretPinMemory(kube::ObjectStore& store, std::string ns, std::string pod_uid = {});

  base::Status Change(const std::string& name, const Edit& edit) override;
  std::string MakeHolder() override;
  bool IsGone(const std::string& holder) override;

 private:
  base::Status ChangeOnce(const std::string& name, const Edit& edit);
  [[nodiscard]] base::Error Unwritable(const base::Error& error) const;

  kube::ObjectStore& store_;
  const std::string ns_;
  const std::string pod_;      ///< what the holders of this pod begin with; empty: not known
  const std::string process_;  ///< and those of this process
};

}  // namespace signet::reconcile
