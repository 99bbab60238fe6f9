// tests/fakes/tokens.hpp - service-account tokens that nobody signed, and the reviews that an API server gives.
//
// Thread-safety: pure functions.
#pragma once

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.hpp"
#include "encoding/text.hpp"

namespace signet::testing {

inline constexpr const char* kAudience = "signet.dev";

inline std::string Base64Url(const std::string& text) {
  std::string out = encoding::ToBase64(base::AsBytes(text));
  std::replace(out.begin(), out.end(), '+', '-');
  std::replace(out.begin(), out.end(), '/', '_');
  out.erase(std::find(out.begin(), out.end(), '='), out.end());
  return out;
}

inline std::string TokenOf(const nlohmann::json& claims) {
  return Base64Url(R"({"alg":"RS256"})") + "." + Base64Url(claims.dump()) + ".c2lnbmF0dXJl";
}

/// For our audience; `name` tells one from another.
inline std::string MakeToken(const base::Clock& clock, std::chrono::seconds life, const std::string& name = "builder") {
  const auto end = std::chrono::floor<std::chrono::seconds>(clock.Now().time_since_epoch()) + life;
  return TokenOf({{"aud", {kAudience}}, {"exp", end.count()}, {"sub", name}});
}

/// status of a TokenReview: a service account's pod.
inline nlohmann::json AcceptedReview(const std::string& account = "builder", const std::string& node = "node-1") {
  nlohmann::json extra = {{"authentication.kubernetes.io/pod-name", {"job-1"}},
                          {"authentication.kubernetes.io/pod-uid", {"uid-of-job-1"}}};
  if (!node.empty()) extra["authentication.kubernetes.io/node-name"] = {node};
  return {{"kind", "TokenReview"},
          {"status",
           {{"authenticated", true},
            {"audiences", {kAudience}},
            {"user",
             {{"username", "system:serviceaccount:ci:" + account},
              {"uid", "uid-of-account"},
              {"groups", {"system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"}},
              {"extra", extra}}}}}};
}

inline nlohmann::json RefusedReview() {
  return {{"kind", "TokenReview"}, {"status", {{"user", nlohmann::json::object()}, {"error", "not known"}}}};
}

}  // namespace signet::testing
