#include "frontend/injector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "frontend/injection_update.hpp"
#include "frontend/review_server.hpp"

namespace signet::frontend {
namespace {

/// Before Kubernetes 1.22, pods/ephemeralcontainers has a kind of its own.
bool IsPod(const AdmissionReview& review) {
  return review.group.empty() && (review.kind == "Pod" || review.kind == "EphemeralContainers");
}

AdmissionVerdict JudgeUpdate(const AdmissionReview& review) {
  base::Status allowed;
  if (review.sub_resource.empty()) allowed = CheckPodUpdate(review.old_object, review.object);
  if (review.sub_resource == "ephemeralcontainers") {
    allowed = CheckEphemeralContainers(review.old_object, review.object);
  }
  return allowed ? AdmissionVerdict::Allow() : AdmissionVerdict::FromError(allowed.error());
}

}  // namespace

Injector::Injector(const base::Clock& clock, std::vector<std::string> excluded)
    : clock_(clock),
      excluded_(std::move(excluded)),
      options_(std::make_shared<const base::Result<InjectionOptions>>(base::MakeError(
          base::Code::kUnavailable, "Starting", "the operator is starting: it has not read what sidecars need yet"))) {}

void Injector::Set(base::Result<InjectionOptions> options) {
  auto made = std::make_shared<const base::Result<InjectionOptions>>(std::move(options));
  const std::lock_guard lock(mutex_);
  options_ = std::move(made);
}

void Injector::Handle(const http::Request& request, http::Responder respond) const {
  const auto label = [](const AdmissionReview& review) { return std::string(IsPod(review) ? "Pod" : "other"); };
  ServeReview(clock_, "inject", request, std::move(respond), label,
              [this](const AdmissionReview& review, const ReviewAnswer& answer) { answer(Judge(review)); });
}

AdmissionVerdict Injector::Judge(const AdmissionReview& review) const {
  const bool creates = review.operation == AdmissionReview::Operation::kCreate && review.sub_resource.empty();
  const bool excluded = std::find(excluded_.begin(), excluded_.end(), review.ns) != excluded_.end();
  if (!IsPod(review) || excluded) return AdmissionVerdict::Allow();
  if (review.operation == AdmissionReview::Operation::kUpdate) return JudgeUpdate(review);
  if (!creates) return AdmissionVerdict::Allow();
  std::shared_ptr<const base::Result<InjectionOptions>> options;
  {
    const std::lock_guard lock(mutex_);
    options = options_;
  }
  if (!*options) {
    // A pod that opts out does not wait for us.
    const auto labels = review.object.find("metadata");
    const bool object = labels != review.object.end() && labels->is_object() && labels->contains("labels") &&
                        (*labels)["labels"].is_object();
    if (object && (*labels)["labels"].value("signet.dev/inject", nlohmann::json()) == "false") {
      return AdmissionVerdict::Allow();
    }
    return AdmissionVerdict::Unavailable(fmt::format(
        "the pod cannot get its Signet sidecar yet: {}; it is tried again by whatever makes the pod, or label "
        "it signet.dev/inject: \"false\" to run it without",
        options->error().message));
  }
  auto injection = InjectSidecar(review.object, **options);
  if (!injection) return AdmissionVerdict::FromError(injection.error());
  AdmissionVerdict verdict;
  verdict.patch = std::move(injection->patch);
  verdict.warnings = std::move(injection->warnings);
  return verdict;
}

}  // namespace signet::frontend
