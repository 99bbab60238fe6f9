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
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "http/io_context.hpp"

namespace signet::http {
namespace {

namespace asio = boost::asio;

constexpr int kHandlersPerTurn = 256;  // then records are written and answers are taken, whatever else comes in

class Loop final : public AsioReactor {
 public:
  void Post(Handler handler) override {
    if (running_here == this) {
      posted_.push_back(std::move(handler));
    } else {
      asio::post(io_, std::move(handler));
    }
  }

  Id After(std::chrono::microseconds delay, Handler handler) override {
    const Id id = ++last_id_;
    const auto due = Due::clock::now() + delay;
    timers_.emplace(id, Timer{due, std::move(handler)});
    due_.emplace(due, id);
    if (due < wake_at_) WakeAt(due);
    return id;
  }

  /// The loop still wakes at its time, once: most timers guard something that ends well, and end unfired.
  void Cancel(Id timer) override {
    const auto found = timers_.find(timer);
    if (found == timers_.end()) return;
    due_.erase({found->second.due, timer});
    timers_.erase(found);
  }

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

  Id AddPoller(Poller poller) override {
    pollers_.emplace(++last_id_, std::move(poller));
    return last_id_;
  }
  void RemovePoller(Id poller) override { pollers_.erase(poller); }

  void Run() override {
    const auto guard = asio::make_work_guard(io_);
    running_here = this;
    try {
      while (!io_.stopped()) Turn();
      running_here = nullptr;
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
    // SIGQUIT and SIGPWR are how some service managers say it; SIGXCPU comes before the kernel's own end.
    for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGPWR, SIGXCPU}) signals_.add(signal);
    signals_.async_wait([this, handler = std::move(handler)](const boost::system::error_code& error, int /*signal*/) {
      if (error) return;
      signals_.async_wait([](const boost::system::error_code& again, int signal) {
        if (again) return;
        // The impatient end: what is in work is settled by the next process, as after a crash.
        ::_exit(128 + signal);
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

  using Due = std::chrono::steady_clock::time_point;
  struct Timer {
    Due due;
    Handler handler;
  };

  void WakeAt(Due due) {
    wake_at_ = due;
    alarm_.expires_at(due);
    alarm_.async_wait([this](const boost::system::error_code& error) {
      if (!error) RunDue();
    });
  }
  void RunDue() {
    wake_at_ = Due::max();
    const auto now = Due::clock::now();
    while (!due_.empty() && due_.begin()->first <= now && !io_.stopped()) {
      const auto found = timers_.extract(due_.begin()->second);
      due_.erase(due_.begin());
      found.mapped().handler();
    }
    if (!due_.empty() && due_.begin()->first < wake_at_) WakeAt(due_.begin()->first);
  }

  /// Everything that descriptors and timers have ready, then the memory, then what those have posted: records of one
  /// turn are one write, and answers of one turn are taken together.
  void Turn() {
    if (pollers_.empty() && posted_.empty()) {
      io_.run_one();
      return;
    }
    for (int i = 0; i < kHandlersPerTurn && io_.poll_one() > 0; ++i) {
    }
    const bool polled = Poll(false);
    if (RunPosted() || polled || io_.stopped()) return;
    if (!Poll(true)) io_.run_one();
  }
  bool Poll(bool waiting) {
    bool busy = false;
    for (const auto& [id, poller] : pollers_) {
      if (io_.stopped()) return true;
      busy = poller(waiting && !busy) || busy;
    }
    return busy;
  }
  /// True: there is more.
  bool RunPosted() {
    running_.swap(posted_);
    for (auto& handler : running_) {
      if (io_.stopped()) break;
      handler();
      handler = nullptr;
    }
    running_.clear();
    return !posted_.empty();
  }

  void Wait(std::shared_ptr<Watch> watch) {
    auto& descriptor = watch->descriptor;
    descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                          [this, watch = std::move(watch)](const boost::system::error_code& error) mutable {
                            if (error || watch->ended) return;
                            watch->handler();
                            if (!watch->ended) Wait(std::move(watch));
                          });
  }

  static thread_local Loop* running_here;

  asio::io_context io_{1};
  asio::signal_set signals_{io_};
  Id last_id_ = 0;
  asio::steady_timer alarm_{io_};  ///< for the timer that is due first, or for one before it
  Due wake_at_ = Due::max();
  std::unordered_map<Id, Timer> timers_;
  std::set<std::pair<Due, Id>> due_;
  std::unordered_map<Id, std::shared_ptr<Watch>> watches_;
  std::map<Id, Poller> pollers_;
  std::vector<Handler> posted_;   ///< from the loop itself, for the end of this turn
  std::vector<Handler> running_;  ///< reused
};

thread_local Loop* Loop::running_here = nullptr;

}  // namespace

boost::asio::io_context& IoContextOf(base::Reactor& reactor) {
  auto* loop = dynamic_cast<Loop*>(&reactor);
  CHECK(loop != nullptr, "http servers run on an AsioReactor");
  return loop->io();
}

std::unique_ptr<AsioReactor> AsioReactor::Create() { return std::make_unique<Loop>(); }

}  // namespace signet::http
