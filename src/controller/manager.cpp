#include "controller/manager.hpp"

#include <algorithm>

#include "obs/log.hpp"

namespace signet::controller {

Manager::~Manager() { Stop(); }

void Manager::Add(Informer& informer, Syncs syncs) {
  informers_.push_back(&informer);
  if (syncs == Syncs::kFirst) needed_.push_back(&informer);
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

void Manager::StartInformers() {
  if (std::exchange(informers_started_, true)) return;
  for (Informer* informer : informers_) informer->Start();
}

void Manager::Start() {
  started_ = true;
  StartInformers();
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

bool Manager::MayStart() const {
  return std::all_of(needed_.begin(), needed_.end(), [](const Informer* i) { return i->HasSynced(); });
}

bool Manager::IsLeader() const {
  if (elector_) return elector_->IsLeader();
  const std::lock_guard lock(mutex_);
  return wanted_ && !stopping_;
}

void Manager::Run() {
  std::vector<Controller*> waiting = always_;  // of those that always run
  bool leading = false;                        // the others run
  std::unique_lock lock(mutex_);
  const auto unlocked = [&lock](const auto& step) {
    lock.unlock();
    step();
    lock.lock();
  };
  const auto knows_its_objects = [](const Controller* controller) {
    const auto& informers = controller->informers();
    return std::all_of(informers.begin(), informers.end(), [](const Informer* i) { return i->HasSynced(); });
  };
  for (;;) {
    const auto next = std::find_if(waiting.begin(), waiting.end(), knows_its_objects);
    const bool should_lead = !stopping_ && wanted_ && (leading || MayStart());
    if (leading && !should_lead) {
      unlocked([&] { std::for_each(leading_.begin(), leading_.end(), [](Controller* c) { c->Stop(); }); });
      leading = false;
    } else if (stopping_) {
      unlocked([&] { std::for_each(always_.begin(), always_.end(), [](Controller* c) { c->Stop(); }); });
      return;
    } else if (next != waiting.end()) {
      unlocked([&] { (*next)->Start(); });
      waiting.erase(next);
    } else if (!leading && should_lead) {
      unlocked([&] {
        std::for_each(leading_.begin(), leading_.end(), [](Controller* c) { c->Start(); });
        if (on_leading_) on_leading_();
      });
      leading = true;
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
