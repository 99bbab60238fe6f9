// pkcs11/calls.hpp - the one choke point for calls into the module. Private to src/pkcs11.
//
// After a fork the module's state belongs to the parent (PKCS#11 v2.40 base, "Application behavior in
// relation to forking"): every call then reports that the child has not initialised it.
#pragma once

#include <p11-kit/pkcs11.h>
#include <sys/types.h>
#include <unistd.h>

namespace signet::pkcs11 {

class Calls {
 public:
  explicit Calls(CK_FUNCTION_LIST* list) : list_(list) {}

  template <class Function, class... Arguments>
  CK_RV Do(Function CK_FUNCTION_LIST::*function, Arguments... arguments) const {
    if (owner_ != ::getpid()) return CKR_CRYPTOKI_NOT_INITIALIZED;
    if (list_->*function == nullptr) return CKR_FUNCTION_NOT_SUPPORTED;
    return (list_->*function)(arguments...);
  }
  /// This process initialises the module next.
  void Adopt() { owner_ = ::getpid(); }
  [[nodiscard]] bool Owned() const { return owner_ == ::getpid(); }
  [[nodiscard]] CK_VERSION version() const { return list_->version; }

 private:
  CK_FUNCTION_LIST* list_;
  pid_t owner_ = 0;
};

}  // namespace signet::pkcs11
