// api/quantity.hpp - Kubernetes quantities ("100m", "64Mi", "1.5", "2e3"), as far as their size matters.
//
// Thread-safety: pure function.
// Sources:       Kubernetes API conventions, "Units" (k8s.io/apimachinery/pkg/api/resource).
#pragma once

#include <optional>
#include <string_view>

namespace signet::api {

/// The value in whole units (cores, octets); nothing: not a quantity, negative, or longer than 32 octets.
std::optional<double> ParseQuantity(std::string_view text);

}  // namespace signet::api
