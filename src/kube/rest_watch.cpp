#include "kube/rest_watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "encoding/json.hpp"
#include "kube/answer.hpp"
#include "obs/log.hpp"

namespace signet::kube {
namespace {

using base::Code;
using nlohmann::json;

constexpr std::size_t kMaxErrorBody = 64U << 10;

base::Result<WatchEvent::Type> TypeOf(std::string_view name) {
  if (name == "ADDED") return WatchEvent::Type::kAdded;
  if (name == "MODIFIED") return WatchEvent::Type::kModified;
  if (name == "DELETED") return WatchEvent::Type::kDeleted;
  if (name == "BOOKMARK") return WatchEvent::Type::kBookmark;
  return base::MakeError(Code::kInternal, "BadAnswer", fmt::format("unknown event type '{}'", name.substr(0, 32)));
}

}  // namespace

WatchState::WatchState(WatchSink sink, std::string what, Limits limits)
    : what_(std::move(what)),
      limits_(limits),
      sink_(std::move(sink)),
      started_(base::SystemClock().Steady()),
      last_word_(started_) {}

void WatchState::Open(Transport& transport, const HttpRequest& request) {
  auto stream = transport.OpenStream(
      request,
      {[self = shared_from_this()](int status, std::chrono::seconds /*retry_after*/) { self->OnStatus(status); },
       [self = shared_from_this()](std::string_view octets) { self->OnOctets(octets); },
       [self = shared_from_this()](base::Status end) { self->OnEnd(std::move(end)); }});
  {
    const std::lock_guard lock(gate_);
    stream_ = std::move(stream);
    if (!ended_) return;
  }
  CancelStream();
}

void WatchState::Stop() {
  {
    const std::lock_guard lock(gate_);
    ended_ = true;
    sink_ = {};
  }
  CancelStream();
}

void WatchState::CancelStream() {
  // Not under the gate: closing the connection may run the library's callbacks.
  std::unique_ptr<Stream> stream;
  {
    const std::lock_guard lock(gate_);
    stream = std::move(stream_);
  }
  if (stream != nullptr) stream->Cancel();
}

void WatchState::EndLocked(base::Status status) {
  if (ended_) return;
  ended_ = true;
  if (sink_.on_end) sink_.on_end(std::move(status));
  sink_ = {};
}

void WatchState::Fail(base::Error error) {
  {
    const std::lock_guard lock(gate_);
    EndLocked(std::move(error));
  }
  CancelStream();
}

std::optional<base::SteadyPoint> WatchState::CheckDeadlines(base::SteadyPoint now) {
  {
    const std::lock_guard lock(gate_);
    if (ended_) return std::nullopt;
    const auto silent = status_ == 0 ? started_ + limits_.first_byte : last_word_ + limits_.silence;
    const auto due = std::min<base::SteadyPoint>(silent, started_ + limits_.total);
    if (now < due) return due;
    if (status_ == 0) {
      EndLocked(base::MakeError(Code::kDeadlineExceeded, "Timeout", what_ + ": the API server did not answer in time"));
    } else {
      // Not an error: servers up to 1.20 send no bookmarks for a kind that does not change. Going on from the last
      // version costs one request, and if the server does hang, that request says so.
      obs::Info("silent watch is started again", {{"watch", what_}});
      EndLocked({});
    }
  }
  CancelStream();
  return std::nullopt;
}

void WatchState::OnStatus(int status) {
  bool ended = false;
  {
    const std::lock_guard lock(gate_);
    if (ended_) return;
    status_ = status;
    last_word_ = base::SystemClock().Steady();
    if (status_ == 200) TakeLinesLocked();
    ended = ended_;
  }
  if (ended) CancelStream();
}

void WatchState::OnOctets(std::string_view octets) {
  bool ended = false;
  {
    const std::lock_guard lock(gate_);
    if (ended_) return;
    last_word_ = base::SystemClock().Steady();
    const std::size_t limit = status_ == 0 || status_ == 200 ? limits_.max_line : kMaxErrorBody;
    pending_ += octets;
    if (status_ == 200) TakeLinesLocked();
    if (pending_.size() > limit) {
      EndLocked(base::MakeError(Code::kInternal, "EventTooLarge",
                                fmt::format("{}: an event of more than {} octets", what_, limit)));
    }
    ended = ended_;
  }
  if (ended) CancelStream();
}

void WatchState::TakeLinesLocked() {
  std::size_t begin = 0;
  for (std::size_t end; !ended_ && (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    TakeLineLocked(std::string_view(pending_).substr(begin, end - begin));
  }
  pending_.erase(0, begin);
}

void WatchState::TakeLineLocked(std::string_view line) {
  auto parsed = encoding::ParseObject(line);
  if (!parsed || !parsed->is_object() || !parsed->contains("object") || !parsed->value("type", json()).is_string()) {
    EndLocked(base::MakeError(Code::kInternal, "BadAnswer", fmt::format("{}: an event that is not one", what_)));
    return;
  }
  const auto type_name = (*parsed)["type"].get<std::string>();
  json& object = (*parsed)["object"];
  if (type_name == "ERROR") {
    const json code = object.is_object() ? object.value("code", json()) : json();
    EndLocked(ErrorOf(code.is_number_integer() ? code.get<int>() : 500, object, what_));
    return;
  }
  auto type = TypeOf(type_name);
  if (!type) {
    EndLocked(base::Error(type.error()));
    return;
  }
  sink_.on_event({*type, std::move(object)});
}

void WatchState::OnEnd(base::Status end) {
  {
    const std::lock_guard lock(gate_);
    if (ended_) return;
    if (status_ != 0 && status_ != 200) {
      EndLocked(ErrorOfText(status_, pending_, what_));
    } else if (!end) {
      end.error().message = what_ + ": " + end.error().message;
      EndLocked(std::move(end));
    } else if (!pending_.empty()) {
      EndLocked(base::MakeError(Code::kUnavailable, "WatchCut", what_ + ": the last event is not whole"));
    } else {
      EndLocked({});
    }
  }
  CancelStream();
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::Guard(const std::shared_ptr<WatchState>& watch) {
  const std::lock_guard lock(mutex_);
  watches_.push_back(watch);
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  changed_.notify_all();
}

void Watchdog::Run() {
  constexpr std::chrono::hours kFarAway{1};
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto watches = watches_;
    lock.unlock();
    const auto now = base::SystemClock().Steady();
    auto next = now + kFarAway;
    std::vector<std::weak_ptr<WatchState>> over;
    for (const auto& weak : watches) {
      const auto watch = weak.lock();
      const auto due = watch != nullptr ? watch->CheckDeadlines(now) : std::nullopt;
      if (due) {
        next = std::min(next, *due);
      } else {
        over.push_back(weak);
      }
    }
    lock.lock();
    const auto is_over = [&](const std::weak_ptr<WatchState>& watch) {
      return std::any_of(over.begin(), over.end(), [&](const std::weak_ptr<WatchState>& other) {
        return !watch.owner_before(other) && !other.owner_before(watch);
      });
    };
    const bool grown = watches_.size() > watches.size();
    watches_.erase(std::remove_if(watches_.begin(), watches_.end(), is_over), watches_.end());
    // A watch that came while the lock was open has a deadline that is not in `next`.
    if (!stopping_ && !grown) changed_.wait_for(lock, next - now);
  }
}

}  // namespace signet::kube
