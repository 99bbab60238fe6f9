#include "http/asio_reactor.hpp"

#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <unordered_map>

#include "base/check.hpp"
#include "http/io_context.hpp"

namespace signet::http {
namespace {

namespace asio = boost::asio;

class Loop final : public AsioReactor {
 public:
  void Post(Handler handler) override { asio::post(io_, std::move(handler)); }

  Id After(std::chrono::microseconds delay, Handler handler) override {
    const Id id = ++last_id_;
    auto& timer = timers_.try_emplace(id, io_).first->second;
    timer.expires_after(delay);
    timer.async_wait([this, id, handler = std::move(handler)](const boost::system::error_code& error) {
      if (error || timers_.erase(id) == 0) return;
      handler();
    });
    return id;
  }

  void Cancel(Id timer) override { timers_.erase(timer); }

  Id WatchReadable(int fd, Handler handler) override {
    const Id id = ++last_id_;
    auto watch = std::make_shared<Watch>(io_, fd, std::move(handler));
    watches_.emplace(id, watch);
    Wait(std::move(watch));
    return id;
  }

  void Unwatch(Id id) override {
    const auto found = watches_.find(id);
    if (found == watches_.end()) return;
    found->second->ended = true;
    found->second->descriptor.release();  // the descriptor stays the caller's
    watches_.erase(found);
  }

  void Run() override {
    const auto guard = asio::make_work_guard(io_);
    try {
      io_.run();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "signet: an event handler threw: %s\n", error.what());
      std::abort();
    } catch (...) {
      std::fputs("signet: an event handler threw\n", stderr);
      std::abort();
    }
  }
  void Stop() override { io_.stop(); }
  asio::io_context& io() { return io_; }

  void OnTerminate(std::function<void()> handler) override {
    signals_.add(SIGTERM);
    signals_.add(SIGINT);
    signals_.async_wait([this, handler = std::move(handler)](const boost::system::error_code& error, int /*signal*/) {
      if (error) return;
      signals_.async_wait([](const boost::system::error_code& again, int signal) {
        if (!again) ::_exit(128 + signal);
      });
      handler();
    });
  }

 private:
  struct Watch {
    Watch(asio::io_context& io, int fd, Handler on_readable) : descriptor(io, fd), handler(std::move(on_readable)) {}
    ~Watch() {
      if (descriptor.is_open()) descriptor.release();
    }
    asio::posix::stream_descriptor descriptor;
    Handler handler;
    bool ended = false;
  };

  void Wait(std::shared_ptr<Watch> watch) {
    auto& descriptor = watch->descriptor;
    descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                          [this, watch = std::move(watch)](const boost::system::error_code& error) mutable {
                            if (error || watch->ended) return;
                            watch->handler();
                            if (!watch->ended) Wait(std::move(watch));
                          });
  }

  asio::io_context io_{1};
  asio::signal_set signals_{io_};
  Id last_id_ = 0;
  std::unordered_map<Id, asio::steady_timer> timers_;
  std::unordered_map<Id, std::shared_ptr<Watch>> watches_;
};

}  // namespace

boost::asio::io_context& IoContextOf(base::Reactor& reactor) {
  auto* loop = dynamic_cast<Loop*>(&reactor);
  CHECK(loop != nullptr, "http servers run on an AsioReactor");
  return loop->io();
}

std::unique_ptr<AsioReactor> AsioReactor::Create() { return std::make_unique<Loop>(); }

}  // namespace signet::http
