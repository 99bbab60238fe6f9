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

void Manager::Add(Controller& controller) { controllers_.push_back(&controller); }

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
  bool running = false;
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool should_run = wanted_ && !stopping_;
    if (running && !should_run) {
      lock.unlock();
      for (Controller* controller : controllers_) controller->Stop();
      lock.lock();
      running = false;
    } else if (!running && should_run && HasSynced()) {
      lock.unlock();
      for (Controller* controller : controllers_) controller->Start();
      lock.lock();
      running = true;
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
