#include "signing/owed_records.hpp"

#include <chrono>
#include <utility>

#include "obs/log.hpp"

namespace signet::signing {
namespace {

constexpr std::chrono::milliseconds kRepeatAfter{200};

const std::string& OperationOf(const std::variant<audit::Outcome, audit::Release>& record) {
  return std::visit([](const auto& r) -> const std::string& { return r.operation; }, record);
}

}  // namespace

OwedRecords::~OwedRecords() {
  *alive_ = false;
  reactor_.Cancel(timer_);
}

void OwedRecords::Add(audit::Outcome outcome, std::function<void()> done) {
  Offer(std::make_shared<Entry>(Entry{std::move(outcome), std::move(done)}));
}

void OwedRecords::Add(audit::Release release, std::function<void()> done) {
  Offer(std::make_shared<Entry>(Entry{std::move(release), std::move(done)}));
}

void OwedRecords::Offer(const std::shared_ptr<Entry>& entry) {
  auto done = [this, alive = alive_, entry](const base::Status& status) {
    if (*alive) OnAppended(entry, status);
  };
  std::visit([&](const auto& record) { journal_.Append(record, std::move(done)); }, entry->record);
}

void OwedRecords::OnAppended(const std::shared_ptr<Entry>& entry, const base::Status& status) {
  if (!status && status.error().code == base::Code::kUnavailable) {
    waiting_.push_back(entry);
    if (timer_ == 0) {
      timer_ = reactor_.After(kRepeatAfter, [this, alive = alive_] {
        if (*alive) Repeat();
      });
    }
    return;
  }
  if (!status) {
    obs::Err("the record refuses the end of an operation",
             {{"operation", OperationOf(entry->record)}, {"error", base::Describe(status.error())}});
  }
  if (entry->done) entry->done();
}

void OwedRecords::Repeat() {
  timer_ = 0;
  for (const auto& entry : std::exchange(waiting_, {})) Offer(entry);
}

}  // namespace signet::signing
