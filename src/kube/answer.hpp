// kube/answer.hpp - what an API server answered, as a value or an Error.
//
// Thread-safety: pure functions.
// Sources:       Kubernetes API conventions, "Response Status Kind" and "HTTP Status codes".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "kube/object_store.hpp"
#include "kube/transport.hpp"

namespace signet::kube {

/// The Error of an HTTP status other than 2xx, or of the object of an ERROR event. `body` is a
/// metav1.Status or anything else (a proxy's page); `what` names the request ("GET /api/v1/...").
base::Error ErrorOf(int http_status, const nlohmann::json& body, std::string_view what);
base::Error ErrorOfText(int http_status, std::string_view body, std::string_view what);

/// The object in a 2xx answer; ErrorOf otherwise; kInternal when a 2xx body is not a JSON object.
base::Result<nlohmann::json> ObjectOf(const HttpResponse& response, std::string_view what);

/// "/api/v1/namespaces/x/configmaps/y", percent-encoded. `ns` is empty for all namespaces and for
/// cluster-scoped resources, `name` for the collection.
/// @return kInvalidArgument: a segment that cannot be one ("", ".", ".."), or scope and namespace do not fit
enum class Scope : std::uint8_t { kCollection, kObject };
base::Result<std::string> PathOf(const Resource& resource, std::string_view ns, std::string_view name, Scope scope);
/// RFC 3986 percent-encoding: all but unreserved characters.
std::string Escape(std::string_view text);

}  // namespace signet::kube
