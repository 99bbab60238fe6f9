// frontend/review_server.hpp - one webhook's HTTP: a review comes in, is judged and answered, and counted.
//
// Thread-safety: reactor thread.
// Blocking:      never.
#pragma once

#include <functional>
#include <string>

#include "base/clock.hpp"
#include "frontend/admission_review.hpp"
#include "http/server.hpp"

namespace signet::frontend {

using ReviewAnswer = std::function<void(AdmissionVerdict)>;

/// Problem+json for what is no review.
/// @param webhook  names it in the metrics
/// @param label    the kind in the metrics: one of few
/// @param judge    answers once, now or later, on this thread
void ServeReview(const base::Clock& clock, const std::string& webhook, const http::Request& request,
                 http::Responder respond, const std::function<std::string(const AdmissionReview&)>& label,
                 const std::function<void(const AdmissionReview&, ReviewAnswer)>& judge);

}  // namespace signet::frontend
