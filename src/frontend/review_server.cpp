#include "frontend/review_server.hpp"

#include <utility>

#include "frontend/problem.hpp"
#include "obs/metrics.hpp"

namespace signet::frontend {
namespace {

obs::Counter& Reviews(const std::string& webhook, const std::string& kind, bool allowed) {
  return obs::GetCounter("signet_admission_reviews_total", "Admission reviews answered",
                         {{"webhook", webhook}, {"kind", kind}, {"result", allowed ? "allowed" : "refused"}});
}

}  // namespace

void ServeReview(const base::Clock& clock, const std::string& webhook, const http::Request& request,
                 http::Responder respond, const std::function<std::string(const AdmissionReview&)>& label,
                 const std::function<void(const AdmissionReview&, ReviewAnswer)>& judge) {
  if (request.method != "POST") {
    auto refused = ToResponse(MakeProblem("MethodNotAllowed"));
    refused.headers.emplace_back("Allow", "POST");
    return respond(std::move(refused));
  }
  if (request.content_type != "application/json") return respond(ToResponse(MakeProblem("UnsupportedMediaType")));
  const auto began = clock.Steady();
  auto review = ParseAdmissionReview(request.body);
  if (!review) return respond(ToResponse(FromError(review.error())));
  judge(*review, [&clock, began, webhook, respond = std::move(respond), uid = review->uid,
                  kind = label(*review)](const AdmissionVerdict& verdict) {
    http::Response response;
    response.body = RenderAdmissionReview(uid, verdict);
    Reviews(webhook, kind, verdict.allowed).Add();
    obs::GetHistogram("signet_admission_duration_seconds", "From an admission review to its answer",
                      {{"webhook", webhook}})
        .Observe(std::chrono::duration<double>(clock.Steady() - began).count());
    respond(std::move(response));
  });
}

}  // namespace signet::frontend
