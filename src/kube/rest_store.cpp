#include "kube/rest_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <utility>

#include "kube/answer.hpp"
#include "kube/rest_watch.hpp"
#include "obs/log.hpp"
#include "obs/metrics.hpp"

namespace signet::kube {
namespace {

using base::Code;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr int kMaxListRestarts = 3;
constexpr int kMaxThrottled = 5;

std::string What(const HttpRequest& request) {
  return request.method + " " + request.target.substr(0, request.target.find('?'));
}

/// Octets that are not UTF-8 become U+FFFD: the library would throw.
std::string Dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

milliseconds Since(base::SteadyPoint start) {
  return std::chrono::duration_cast<milliseconds>(base::SystemClock().Steady() - start);
}

}  // namespace

/// What requests and watches share; lives as long as the store or one of its watches.
class RestStore::Core {
 public:
  Core(std::unique_ptr<Transport> transport, RestOptions options)
      : options_(std::move(options)), transport_(std::move(transport)) {}

  const RestOptions& options() const { return options_; }

  /// `repeatable`: carrying it out twice does no harm.
  base::Result<json> Exchange(std::string_view verb, const HttpRequest& request, bool repeatable) {
    return Exchange(verb, request, repeatable, options_.deadlines.total);
  }
  /// `limit`: of all attempts and waits together.
  base::Result<json> Exchange(std::string_view verb, const HttpRequest& request, bool repeatable, milliseconds limit) {
    TRY(const auto answer, Ask(verb, request, repeatable, limit));
    return ObjectOf(answer, What(request));
  }
  /// The answer as it came.
  base::Result<HttpResponse> Ask(std::string_view verb, const HttpRequest& request, bool repeatable,
                                 milliseconds limit) {
    const Span span{base::SystemClock().Steady(), std::min(limit, options_.deadlines.total)};
    TRY_VOID(TakeSlot(span.limit));
    auto answer = ExchangeInSlot(verb, request, repeatable, span);
    ReturnSlot();
    if (!answer) {
      answer.error().message = What(request) + ": " + answer.error().message;
    }
    return answer;
  }

  void Open(const std::shared_ptr<WatchState>& watch, const HttpRequest& request) {
    watch->Open(*transport_, request);
    watchdog_.Guard(watch);
  }
  std::chrono::seconds DrawTimeout() {
    const std::lock_guard lock(mutex_);
    return std::chrono::seconds(
        std::uniform_int_distribution<std::int64_t>(options_.watch_min.count(), options_.watch_max.count())(random_));
  }
  void Shutdown() {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }

 private:
  struct Span {
    base::SteadyPoint began;
    milliseconds limit;
  };
  base::Result<HttpResponse> ExchangeInSlot(std::string_view verb, const HttpRequest& request, bool repeatable,
                                            const Span& span);
  base::Result<HttpResponse> SendOnce(std::string_view verb, const HttpRequest& request, milliseconds left);

  base::Status TakeSlot(milliseconds limit) {
    std::unique_lock lock(mutex_);
    const bool free =
        changed_.wait_for(lock, limit, [this] { return stopping_ || in_flight_ < options_.max_in_flight; });
    if (!free || stopping_) {
      return base::MakeError(Code::kUnavailable, "TooManyRequests", "too many requests to the API server are waiting");
    }
    ++in_flight_;
    return {};
  }
  void ReturnSlot() {
    {
      const std::lock_guard lock(mutex_);
      --in_flight_;
    }
    changed_.notify_one();
  }
  /// False: not to wait so long, or shutting down.
  bool Pause(std::chrono::seconds pause, const Span& span) {
    if (Since(span.began) + pause >= span.limit) return false;
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, pause, [this] { return stopping_; });
  }

  const RestOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t in_flight_ = 0;                        ///< guarded by mutex_
  bool stopping_ = false;                            ///< guarded by mutex_
  std::minstd_rand random_{std::random_device{}()};  ///< guarded by mutex_
  std::unique_ptr<Transport> transport_;
  Watchdog watchdog_;  ///< before transport_ goes, its thread has ended
};

base::Result<HttpResponse> RestStore::Core::SendOnce(std::string_view verb, const HttpRequest& request,
                                                     milliseconds left) {
  const auto began = base::SystemClock().Steady();
  auto answer = transport_->Send(request, {std::min(options_.deadlines.first_byte, left), left});
  const std::string code = answer ? std::to_string(answer->status) : std::string(base::Name(answer.error().code));
  obs::GetHistogram("signet_kube_request_seconds", "Requests to the API server", {{"verb", verb}, {"code", code}})
      .Observe(std::chrono::duration<double>(base::SystemClock().Steady() - began).count());
  return answer;
}

base::Result<HttpResponse> RestStore::Core::ExchangeInSlot(std::string_view verb, const HttpRequest& request,
                                                           bool repeatable, const Span& span) {
  bool repeated = false;
  for (int throttled = 0;;) {
    const milliseconds left = span.limit - Since(span.began);
    if (left <= milliseconds::zero()) {
      return base::MakeError(Code::kDeadlineExceeded, "Timeout", "no answer in time");
    }
    auto answer = SendOnce(verb, request, left);
    if (!answer) {
      // A pooled connection may have been stale; the transport has dropped them all by now.
      if (answer.error().code != Code::kUnavailable || !repeatable || repeated) return answer;
      repeated = true;
      continue;
    }
    if ((repeated || throttled > 0) && request.method == "PATCH" && (answer->status == 409 || answer->status == 404)) {
      // Refused because the first one was carried out, or for another's change: nobody can tell from here.
      return base::MakeError(Code::kUnavailable, "Unknown", "asked twice: read what became of the first patch");
    }
    const bool refused_before_work = answer->status == 429;
    const bool come_back = answer->status == 503 && answer->retry_after > std::chrono::seconds::zero() && repeatable;
    if ((!refused_before_work && !come_back) || ++throttled > kMaxThrottled) return answer;
    if (!Pause(std::max(answer->retry_after, std::chrono::seconds(1)), span)) return answer;
  }
}

namespace {

class RunningWatch final : public Watch {
 public:
  RunningWatch(std::shared_ptr<WatchState> state, std::shared_ptr<void> keep)
      : keep_(std::move(keep)), state_(std::move(state)) {}
  ~RunningWatch() override { state_->Stop(); }

 private:
  std::shared_ptr<void> keep_;  ///< transport and watchdog
  std::shared_ptr<WatchState> state_;
};

}  // namespace

RestStore::RestStore(std::unique_ptr<Transport> transport, RestOptions options)
    : core_(std::make_shared<Core>(std::move(transport), std::move(options))) {}

RestStore::~RestStore() { core_->Shutdown(); }

base::Result<std::unique_ptr<RestStore>> RestStore::Open(ClusterConfig config, RestOptions options) {
  TRY(auto transport, OpenCpprestTransport(std::move(config), options.max_body));
  return std::make_unique<RestStore>(std::move(transport), std::move(options));
}

base::Result<json> RestStore::Get(const Resource& resource, std::string_view ns, std::string_view name) {
  TRY(std::string path, PathOf(resource, ns, name, Scope::kObject));
  return core_->Exchange("get", {"GET", std::move(path), "", ""}, true);
}

base::Result<json> RestStore::ServerVersion() { return core_->Exchange("get", {"GET", "/version", "", ""}, true); }

namespace {

/// Objects a page: fewer after a page that was large, since whoever may create objects chooses their size; more again,
/// in steps, when they are small.
class PageLimit {
 public:
  PageLimit(std::size_t most, std::size_t octets) : most_(most), octets_(octets), now_(most) {}
  [[nodiscard]] std::size_t now() const { return now_; }
  /// After a page of more than all octets. False: it was one object.
  bool Halve() {
    small_ = 0;
    if (now_ <= 1) return false;
    now_ /= 2;
    return true;
  }
  void OnPage(std::size_t octets) {
    if (octets > octets_ / 2) {
      small_ = 0;
      now_ = std::max<std::size_t>(1, now_ * (octets_ / 2) / octets);
    } else if (octets > octets_ / 4) {
      small_ = 0;  // twice as many would be too large
    } else if (now_ < most_ && ++small_ >= kSmallPages) {
      small_ = 0;
      now_ = std::min(most_, now_ * 2);
    }
  }

 private:
  static constexpr int kSmallPages = 8;
  const std::size_t most_;
  const std::size_t octets_;
  std::size_t now_;
  int small_ = 0;  ///< pages in a row
};

/// Gives out the objects of one page, and the list's version before those of the first.
/// @return where the next page begins; empty: this was the last
base::Result<std::string> TakePage(json page, const Resource& resource, bool first, const ObjectStore::ListSink& sink) {
  const auto bad = [] { return base::MakeError(Code::kInternal, "BadAnswer", "a list that is not one"); };
  auto meta = page.find("metadata");
  auto items = page.find("items");
  if (meta == page.end() || !meta->is_object()) return bad();
  const json version = meta->value("resourceVersion", json());
  if (!version.is_string()) return bad();
  const json token = meta->value("continue", json());
  std::string next = token.is_string() ? token.get<std::string>() : std::string();
  // The pages of one list are all read at the first one's version.
  if (first) sink.on_version(version.get<std::string>());
  if (items == page.end() || items->is_null()) return next;
  if (!items->is_array()) return bad();
  const std::string api_version = resource.group.empty() ? resource.version : resource.group + "/" + resource.version;
  for (json& item : *items) {
    if (!item.is_object()) return bad();
    // The items of a list do not say what they are; objects from Get and watches do.
    if (!item.contains("apiVersion")) item["apiVersion"] = api_version;
    if (!item.contains("kind")) item["kind"] = resource.kind;
    sink.on_object(std::move(item));
  }
  return next;
}

base::Result<std::string> PathOfNamespace(const Resource& resource, std::string_view ns) {
  if (!resource.namespaced || ns.empty()) {
    return base::MakeError(Code::kInvalidArgument, "BadRequest", resource.plural + ": namespace and scope do not fit");
  }
  return PathOf(resource, ns, "", Scope::kCollection);
}

}  // namespace

base::Result<List> RestStore::ListAll(const Resource& resource) {
  TRY(const std::string path, PathOf(resource, "", "", Scope::kCollection));
  return ListPath(resource, path);
}

base::Status RestStore::ListEach(const Resource& resource, const ListSink& sink) {
  TRY(const std::string path, PathOf(resource, "", "", Scope::kCollection));
  return ReadPages(resource, path, sink);
}

base::Result<List> RestStore::ListNamespace(const Resource& resource, std::string_view ns) {
  TRY(const std::string path, PathOfNamespace(resource, ns));
  return ListPath(resource, path);
}

base::Status RestStore::ListEachIn(const Resource& resource, std::string_view ns,
                                   const std::function<void(json object)>& take) {
  TRY(const std::string path, PathOfNamespace(resource, ns));
  return ReadPages(resource, path, {[](const std::string&) {}, take});
}

base::Result<List> RestStore::ListPath(const Resource& resource, const std::string& path) {
  for (int restarts = 0;; ++restarts) {
    List list;
    const auto read = ReadPages(resource, path,
                                {[&list](const std::string& version) { list.resource_version = version; },
                                 [&list](json object) { list.items.push_back(std::move(object)); }});
    if (read) return list;
    // Between two pages the version of the first one was compacted away.
    const bool expired = read.error().native.number == 410 && restarts < kMaxListRestarts;
    if (!expired) return base::Error(read.error());
  }
}

base::Status RestStore::ReadPages(const Resource& resource, const std::string& path, const ListSink& sink) {
  const auto& options = core_->options();
  PageLimit limit(options.page, options.page_body);
  std::string token;
  for (;;) {
    if (sink.stopped && sink.stopped()) return base::MakeError(Code::kAborted, "Stopped", "the list was stopped");
    std::string target = fmt::format("{}?limit={}", path, limit.now());
    if (!token.empty()) target += "&continue=" + Escape(token);
    // One object alone may be as large as any answer.
    const auto most = limit.now() == 1 ? options.max_body : options.page_body;
    const HttpRequest request{"GET", std::move(target), "", "", most};
    auto answer = core_->Ask("list", request, true, options.deadlines.total);
    if (!answer) {
      if (answer.error().reason != kAnswerTooLarge || !limit.Halve()) return base::Error(answer.error());
      continue;
    }
    limit.OnPage(answer->body.size());
    TRY(json page, ObjectOf(*answer, What(request)));
    answer->body = {};
    TRY(token, TakePage(std::move(page), resource, token.empty(), sink));
    if (token.empty()) return {};
  }
}

base::Result<json> RestStore::Create(const Resource& resource, std::string_view ns, const json& object) {
  if (resource.namespaced == ns.empty()) {
    return base::MakeError(Code::kInvalidArgument, "BadRequest", resource.plural + ": namespace and scope do not fit");
  }
  TRY(const std::string path, PathOf(resource, ns, "", Scope::kCollection));
  return core_->Exchange("create",
                         {"POST", fmt::format("{}?fieldManager={}", path, Escape(core_->options().field_manager)),
                          "application/json", Dump(object)},
                         false);
}

base::Result<json> RestStore::Review(const Resource& resource, const json& question) {
  if (resource.namespaced) {
    return base::MakeError(Code::kInvalidArgument, "BadRequest", resource.plural + ": has a namespace");
  }
  TRY(std::string path, PathOf(resource, "", "", Scope::kCollection));
  return core_->Exchange("review", {"POST", std::move(path), "application/json", Dump(question)}, true);
}

base::Result<json> RestStore::Update(const Resource& resource, std::string_view ns, std::string_view name,
                                     const json& object) {
  const auto meta = object.find("metadata");
  const json version = meta != object.end() && meta->is_object() ? meta->value("resourceVersion", json()) : json();
  if (!version.is_string() || version.get_ref<const std::string&>().empty()) {
    return base::MakeError(Code::kInvalidArgument, "BadRequest", "an update needs metadata.resourceVersion");
  }
  TRY(const std::string path, PathOf(resource, ns, name, Scope::kObject));
  return core_->Exchange("update",
                         {"PUT", fmt::format("{}?fieldManager={}", path, Escape(core_->options().field_manager)),
                          "application/json", Dump(object)},
                         true);
}

base::Result<json> RestStore::PatchStatus(const Resource& resource, std::string_view ns, std::string_view name,
                                          std::string_view uid, std::string_view resource_version, const json& status) {
  return PatchStatusWithin(core_->options().deadlines.total, resource, ns, name, uid, resource_version, status);
}

base::Result<json> RestStore::PatchStatusWithin(milliseconds limit, const Resource& resource, std::string_view ns,
                                                std::string_view name, std::string_view uid,
                                                std::string_view resource_version, const json& status) {
  // A merge patch without resourceVersion overwrites whatever is there, and a wrong uid is ignored by the server: the
  // version is the one precondition that holds. It implies the uid, since no two objects share a version.
  if (uid.empty() || resource_version.empty()) {
    return base::MakeError(Code::kInvalidArgument, "BadRequest", "a status patch needs uid and resourceVersion");
  }
  TRY(const std::string path, PathOf(resource, ns, name, Scope::kObject));
  const json body = {{"metadata", {{"uid", uid}, {"resourceVersion", resource_version}}}, {"status", status}};
  TRY(json written,
      core_->Exchange("patch",
                      {"PATCH", fmt::format("{}/status?fieldManager={}", path, Escape(core_->options().field_manager)),
                       "application/merge-patch+json", Dump(body)},
                      true, limit));
  const auto meta = written.find("metadata");
  if (meta == written.end() || !meta->is_object() || meta->value("uid", json()) != uid) {
    return base::MakeError(Code::kInternal, "BadAnswer", "the server wrote the status of another object");
  }
  return written;
}

base::Result<json> RestStore::MergePatch(const Resource& resource, std::string_view ns, std::string_view name,
                                         const json& patch) {
  TRY(const std::string path, PathOf(resource, ns, name, Scope::kObject));
  // The same patch twice is the same as once.
  return core_->Exchange("patch",
                         {"PATCH", fmt::format("{}?fieldManager={}", path, Escape(core_->options().field_manager)),
                          "application/merge-patch+json", Dump(patch)},
                         true);
}

base::Status RestStore::Delete(const Resource& resource, std::string_view ns, std::string_view name,
                               std::string_view uid) {
  TRY(std::string path, PathOf(resource, ns, name, Scope::kObject));
  json options = {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
  if (!uid.empty()) options["preconditions"] = {{"uid", uid}};
  TRY([[maybe_unused]] const json answer,
      core_->Exchange("delete", {"DELETE", std::move(path), "application/json", Dump(options)}, !uid.empty()));
  return {};
}

std::unique_ptr<Watch> RestStore::StartWatch(const Resource& resource, std::string_view resource_version,
                                             WatchSink sink) {
  const auto& options = core_->options();
  const auto timeout = core_->DrawTimeout();
  const std::string path = *PathOf(resource, "", "", Scope::kCollection);  // cannot fail without ns and name
  const HttpRequest request{"GET",
                            fmt::format("{}?watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
                                        path, Escape(resource_version), timeout.count()),
                            "", ""};
  auto state = std::make_shared<WatchState>(
      std::move(sink), "watch " + path,
      WatchState::Limits{options.deadlines.first_byte, options.bookmark_interval + options.watch_grace,
                         timeout + options.watch_overrun, options.max_line});
  core_->Open(state, request);
  return std::make_unique<RunningWatch>(std::move(state), core_);
}

}  // namespace signet::kube
