#include "controller/manager.hpp"

#include <algorithm>

#include "obs/log.hpp"

namespace signet::controller {

Manager::~Manager() { Stop(); }

void Manager::Add(Informer& informer) {
  informers_.push_back(&informer);
  informer.OnConfirmed([this] {
    // The empty critical section orders this with a wait that has just looked.
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  });
}

void Manager::Add(Controller& controller, Runs runs) {
  (runs == Runs::kAlways ? always_ : leading_).push_back(&controller);
}

base::Status Manager::SetLease(kube::ObjectStore& store, LeaseOptions options) {
  TRY_VOID(Validate(options));
  elector_ = std::make_unique<LeaderElector>(
      store, std::move(options), LeaderElector::Callbacks{[this] { SetWanted(true); }, [this] { SetWanted(false); }},
      clock_);
  return {};
}

void Manager::Start() {
  started_ = true;
  for (Informer* informer : informers_) informer->Start();
  thread_ = std::thread([this] { Run(); });
  if (elector_) {
    elector_->Start();
  } else {
    SetWanted(true);
  }
}

void Manager::SetWanted(bool wanted) {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = wanted;
  }
  changed_.notify_all();
}

bool Manager::HasSynced() const {
  return std::all_of(informers_.begin(), informers_.end(), [](const Informer* i) { return i->HasSynced(); });
}

bool Manager::IsLeader() const {
  if (elector_) return elector_->IsLeader();
  const std::lock_guard lock(mutex_);
  return wanted_ && !stopping_;
}

void Manager::Run() {
  bool running = false;  // those that always run
  bool leading = false;  // the others
  std::unique_lock lock(mutex_);
  const auto unlocked = [&lock](const auto& step) {
    lock.unlock();
    step();
    lock.lock();
  };
  const auto stop = [](const std::vector<Controller*>& controllers) {
    for (Controller* controller : controllers) controller->Stop();
  };
  const auto start = [](const std::vector<Controller*>& controllers) {
    for (Controller* controller : controllers) controller->Start();
  };
  for (;;) {
    const bool should_run = !stopping_ && (running || HasSynced());
    const bool should_lead = should_run && wanted_;
    if (leading && !should_lead) {
      unlocked([&] { stop(leading_); });
      leading = false;
    } else if (running && !should_run) {
      unlocked([&] { stop(always_); });
      running = false;
    } else if (!running && should_run) {
      unlocked([&] { start(always_); });
      running = true;
    } else if (!leading && should_lead) {
      unlocked([&] {
        start(leading_);
        if (on_leading_) on_leading_();
      });
      leading = true;
    } else if (stopping_) {
      return;
    } else {
      changed_.wait(lock);
    }
  }
}

void Manager::Stop() {
  if (!started_) return;
  started_ = false;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (Informer* informer : informers_) informer->RequestStop();
  thread_.join();
  if (elector_) elector_->Stop();
  for (Informer* informer : informers_) informer->Stop();
}

}  // namespace signet::controller
