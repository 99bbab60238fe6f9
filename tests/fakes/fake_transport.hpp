// tests/fakes/fake_transport.hpp - an API server's answers from a script.
//
// Thread-safety: any thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "kube/transport.hpp"

namespace signet::testing {

class FakeTransport final : public kube::Transport {
 public:
  using Answer = base::Result<kube::HttpResponse>;
  /// What the tests see of the transport that a store owns.
  struct Log {
    std::mutex mutex;
    std::vector<kube::HttpRequest> requests;  ///< guarded by mutex
    std::vector<kube::Deadlines> deadlines;   ///< of requests that are no streams; guarded by mutex
    std::vector<kube::StreamSink> streams;    ///< guarded by mutex
    std::vector<bool> cancelled;              ///< by stream; guarded by mutex
    std::function<Answer(const kube::HttpRequest&)> answer;
  };
  explicit FakeTransport(std::shared_ptr<Log> log) : log_(std::move(log)) {}

  Answer Send(const kube::HttpRequest& request, const kube::Deadlines& deadlines) override {
    {
      const std::lock_guard lock(log_->mutex);
      log_->deadlines.push_back(deadlines);
      log_->requests.push_back(request);
    }
    return log_->answer(request);
  }
  std::unique_ptr<kube::Stream> OpenStream(const kube::HttpRequest& request, kube::StreamSink sink) override {
    const std::lock_guard lock(log_->mutex);
    log_->requests.push_back(request);
    log_->streams.push_back(std::move(sink));
    log_->cancelled.push_back(false);
    return std::make_unique<Handle>(log_, log_->streams.size() - 1);
  }

 private:
  class Handle final : public kube::Stream {
   public:
    Handle(std::shared_ptr<Log> log, std::size_t index) : log_(std::move(log)), index_(index) {}
    ~Handle() override { Cancel(); }
    void Cancel() override {
      const std::lock_guard lock(log_->mutex);
      log_->cancelled[index_] = true;
    }

   private:
    std::shared_ptr<Log> log_;
    std::size_t index_;
  };
  std::shared_ptr<Log> log_;
};

}  // namespace signet::testing
