// reconcile/resources.hpp - the kinds that the reconcilers read and write.
#pragma once

#include <string>
#include <string_view>

#include "kube/object_store.hpp"

namespace signet::reconcile {

inline const kube::Resource& SigningPolicies() {
  static const kube::Resource kResource{"signet.dev", "v1alpha1", "signingpolicies", "SigningPolicy", false};
  return kResource;
}
inline const kube::Resource& SigningRequests() {
  static const kube::Resource kResource{"signet.dev", "v1alpha1", "signingrequests", "SigningRequest", true};
  return kResource;
}
inline const kube::Resource& SigningApprovals() {
  static const kube::Resource kResource{"signet.dev", "v1alpha1", "signingapprovals", "SigningApproval", true};
  return kResource;
}
inline const kube::Resource& Namespaces() {
  static const kube::Resource kResource{"", "v1", "namespaces", "Namespace", false};
  return kResource;
}
inline const kube::Resource& ConfigMaps() {
  static const kube::Resource kResource{"", "v1", "configmaps", "ConfigMap", true};
  return kResource;
}
inline const kube::Resource& Events() {
  static const kube::Resource kResource{"", "v1", "events", "Event", true};
  return kResource;
}

}  // namespace signet::reconcile
