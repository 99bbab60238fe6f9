#include "kube/rest_store.hpp"

#include <algorithm>
#include <optional>

#include "fakes/fake_transport.hpp"
#include "support/matchers.hpp"

namespace signet::kube {
namespace {

using base::Code;
using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeTransport;
using testing::IsErr;
using testing::IsOk;

const Resource kWidgets{"test.signet.dev", "v1", "widgets", "Widget", true};
const Resource kNodes{"", "v1", "nodes", "Node", false};

HttpResponse Json(int status, const json& body, seconds retry_after = seconds(0)) {
  return {status, retry_after, body.dump()};
}
json Status(int code, const std::string& reason, const std::string& message = "because") {
  return {{"kind", "Status"}, {"status", "Failure"}, {"code", code}, {"reason", reason}, {"message", message}};
}
base::Error Broken() { return base::MakeError(Code::kUnavailable, "NoConnection", "the connection broke"); }

class RestStoreTest : public ::testing::Test {
 protected:
  /// Answers one after another; the last one for ever.
  void Answers(std::vector<FakeTransport::Answer> answers) {
    log_->answer = [answers = std::move(answers), next = std::size_t{0}](const HttpRequest&) mutable {
      return answers[std::min(next++, answers.size() - 1)];
    };
  }
  RestStore& Store(RestOptions options = {}) {
    store_ = std::make_unique<RestStore>(std::make_unique<FakeTransport>(log_), std::move(options));
    return *store_;
  }
  const HttpRequest& Request(std::size_t index) { return log_->requests.at(index); }

  std::shared_ptr<FakeTransport::Log> log_ = std::make_shared<FakeTransport::Log>();
  std::unique_ptr<RestStore> store_;
};

TEST_F(RestStoreTest, AsksForReviewsAndRepeatsThem) {
  const Resource reviews{"authentication.k8s.io", "v1", "tokenreviews", "TokenReview", false};
  Answers({Broken(), Json(201, {{"status", {{"authenticated", true}}}})});
  auto& store = Store();
  const auto answer = store.Review(reviews, {{"spec", {{"token", "t"}}}});
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ((*answer)["status"]["authenticated"], true);
  ASSERT_EQ(log_->requests.size(), 2U) << "asking twice does no harm";
  EXPECT_EQ(Request(1).method + " " + Request(1).target, "POST /apis/authentication.k8s.io/v1/tokenreviews");
  EXPECT_EQ(json::parse(Request(1).body), (json{{"spec", {{"token", "t"}}}}));
  EXPECT_THAT(store.Review(kWidgets, json::object()), IsErr(Code::kInvalidArgument));
  Answers({Json(403, Status(403, "Forbidden"))});
  EXPECT_THAT(Store().Review(reviews, json::object()), IsErr(Code::kPermissionDenied));
}

TEST_F(RestStoreTest, SpeaksThePathsAndBodiesOfTheApi) {
  Answers({Json(200, {{"metadata", {{"uid", "u"}}}})});
  auto& store = Store();
  EXPECT_THAT(store.Get(kWidgets, "ns", "a"), IsOk());
  EXPECT_THAT(store.Get(kNodes, "", "system:a/b"), IsOk());
  EXPECT_THAT(store.Create(kWidgets, "ns", {{"x", 1}}), IsOk());
  EXPECT_THAT(store.Update(kWidgets, "ns", "a", {{"metadata", {{"resourceVersion", "7"}}}}), IsOk());
  EXPECT_THAT(store.PatchStatus(kWidgets, "ns", "a", "u", "7", {{"k", "v"}}), IsOk());
  EXPECT_THAT(store.Delete(kWidgets, "ns", "a", "u"), IsOk());
  const auto line = [&](std::size_t i) { return Request(i).method + " " + Request(i).target; };
  EXPECT_EQ(line(0), "GET /apis/test.signet.dev/v1/namespaces/ns/widgets/a");
  EXPECT_EQ(line(1), "GET /api/v1/nodes/system%3Aa%2Fb");
  EXPECT_EQ(line(2), "POST /apis/test.signet.dev/v1/namespaces/ns/widgets?fieldManager=signet");
  EXPECT_EQ(line(3), "PUT /apis/test.signet.dev/v1/namespaces/ns/widgets/a?fieldManager=signet");
  EXPECT_EQ(line(4), "PATCH /apis/test.signet.dev/v1/namespaces/ns/widgets/a/status?fieldManager=signet");
  EXPECT_EQ(Request(4).content_type, "application/merge-patch+json");
  EXPECT_EQ(json::parse(Request(4).body),
            json({{"metadata", {{"resourceVersion", "7"}, {"uid", "u"}}}, {"status", {{"k", "v"}}}}));
  EXPECT_EQ(line(5), "DELETE /apis/test.signet.dev/v1/namespaces/ns/widgets/a");
  EXPECT_EQ(json::parse(Request(5).body)["preconditions"], json({{"uid", "u"}}));
}

TEST_F(RestStoreTest, SendsNothingThatCannotBeMeant) {
  Answers({Json(200, json::object())});
  auto& store = Store();
  for (const char* name : {"", ".", ".."}) EXPECT_THAT(store.Get(kWidgets, "ns", name), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store.Get(kWidgets, "", "a"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store.Get(kWidgets, "..", "a"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store.Get(kNodes, "ns", "a"), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store.Create(kNodes, "ns", {}), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store.Update(kWidgets, "ns", "a", {{"metadata", json::object()}}), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store.PatchStatus(kWidgets, "ns", "a", "u", "", {}), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store.PatchStatus(kWidgets, "ns", "a", "", "7", {}), IsErr(Code::kInvalidArgument));
  EXPECT_TRUE(log_->requests.empty());
}

struct ErrorCase {
  int status;
  const char* reason;
  Code code;
};
class RestStoreErrorTest : public RestStoreTest, public ::testing::WithParamInterface<ErrorCase> {};

TEST_P(RestStoreErrorTest, BecomesACode) {
  RestOptions options;
  options.deadlines.total = milliseconds(500);  // too short for a pause
  Answers({Json(GetParam().status, Status(GetParam().status, GetParam().reason))});
  const auto answer = Store(options).Get(kWidgets, "ns", "a");
  EXPECT_THAT(answer, IsErr(GetParam().code, GetParam().reason));
  EXPECT_EQ(answer.error().native.number, GetParam().status);
  EXPECT_THAT(answer.error().message, ::testing::HasSubstr("because"));
}

INSTANTIATE_TEST_SUITE_P(
    Statuses, RestStoreErrorTest,
    ::testing::Values(ErrorCase{400, "BadRequest", Code::kInvalidArgument},
                      ErrorCase{401, "Unauthorized", Code::kUnauthenticated},
                      ErrorCase{403, "Forbidden", Code::kPermissionDenied}, ErrorCase{404, "NotFound", Code::kNotFound},
                      ErrorCase{405, "MethodNotAllowed", Code::kUnimplemented},
                      ErrorCase{409, "AlreadyExists", Code::kAlreadyExists}, ErrorCase{409, "Conflict", Code::kAborted},
                      ErrorCase{410, "Expired", Code::kAborted}, ErrorCase{422, "Invalid", Code::kInvalidArgument},
                      ErrorCase{429, "TooManyRequests", Code::kUnavailable},
                      ErrorCase{500, "InternalError", Code::kUnavailable},
                      ErrorCase{503, "ServiceUnavailable", Code::kUnavailable}, ErrorCase{302, "", Code::kInternal}));

TEST_F(RestStoreTest, TakesAnyErrorBody) {
  Answers({HttpResponse{502, seconds(0), "<html>bad gateway</html>"}});
  EXPECT_THAT(Store().Get(kWidgets, "ns", "a"), IsErr(Code::kUnavailable, ""));
  Answers({HttpResponse{403, seconds(0), R"({"message":7,"reason":[]})"}});
  EXPECT_THAT(store_->Get(kWidgets, "ns", "a"), IsErr(Code::kPermissionDenied, ""));
  Answers({HttpResponse{200, seconds(0), "[1]"}});
  EXPECT_THAT(store_->Get(kWidgets, "ns", "a"), IsErr(Code::kInternal, "BadAnswer"));
  Answers({HttpResponse{200, seconds(0), R"({"a":1,"a":2})"}});
  EXPECT_THAT(store_->Get(kWidgets, "ns", "a"), IsErr(Code::kInternal, "BadAnswer"));
}

TEST_F(RestStoreTest, RepeatsOnceWhatMayBeRepeated) {
  Answers({Broken(), Json(200, {{"a", 1}})});
  EXPECT_THAT(Store().Get(kWidgets, "ns", "a"), IsOk());
  EXPECT_EQ(log_->requests.size(), 2U);
  Answers({Broken()});
  EXPECT_THAT(store_->Get(kWidgets, "ns", "a"), IsErr(Code::kUnavailable));
  EXPECT_EQ(log_->requests.size(), 4U);
}

TEST_F(RestStoreTest, NeverRepeatsACreate) {
  Answers({Broken(), Json(201, json::object())});
  EXPECT_THAT(Store().Create(kWidgets, "ns", json::object()), IsErr(Code::kUnavailable));
  EXPECT_EQ(log_->requests.size(), 1U);
}

TEST_F(RestStoreTest, NeverRepeatsAfterATimeout) {
  Answers({base::MakeError(Code::kDeadlineExceeded, "slow"), Json(200, json::object())});
  EXPECT_THAT(Store().Get(kWidgets, "ns", "a"), IsErr(Code::kDeadlineExceeded));
  EXPECT_EQ(log_->requests.size(), 1U);
}

TEST_F(RestStoreTest, DoesNotCallAPatchRefusedThatMayHaveLandedBeforeItsConnectionBroke) {
  // If the first PATCH was carried out, its repetition meets the version that it made itself, or the object is gone.
  for (const int status : {409, 404}) {
    log_->requests.clear();
    Answers({Broken(), Json(status, Status(status, "Conflict"))});
    EXPECT_THAT(Store().PatchStatus(kWidgets, "ns", "a", "u", "7", {{"k", 1}}), IsErr(Code::kUnavailable));
    EXPECT_EQ(log_->requests.size(), 2U);
  }
  Answers({Json(409, Status(409, "Conflict"))});
  EXPECT_THAT(store_->PatchStatus(kWidgets, "ns", "a", "u", "7", {{"k", 1}}), IsErr(Code::kAborted, "Conflict"));
}

TEST_F(RestStoreTest, HoldsAPatchToTheTimeItIsGiven) {
  const json written = {{"metadata", {{"uid", "u"}}}};
  Answers({Json(200, written)});
  EXPECT_THAT(Store().PatchStatusWithin(seconds(3), kWidgets, "ns", "a", "u", "7", {{"k", 1}}), IsOk());
  EXPECT_LE(log_->deadlines.back().total, seconds(3));
  EXPECT_LE(log_->deadlines.back().first_byte, seconds(3));
  EXPECT_THAT(store_->PatchStatus(kWidgets, "ns", "a", "u", "7", {{"k", 1}}), IsOk());
  EXPECT_GT(log_->deadlines.back().total, seconds(25));
  log_->requests.clear();
  Answers({Json(429, Status(429, "TooManyRequests"), seconds(4)), Json(200, written)});
  EXPECT_THAT(store_->PatchStatusWithin(seconds(3), kWidgets, "ns", "a", "u", "7", {{"k", 1}}),
              IsErr(Code::kUnavailable));
  EXPECT_EQ(log_->requests.size(), 1U) << "it does not wait that long";
}

TEST_F(RestStoreTest, RefusesAPatchAnswerAboutAnotherObject) {
  Answers({Json(200, {{"metadata", {{"uid", "other"}}}})});
  EXPECT_THAT(Store().PatchStatus(kWidgets, "ns", "a", "u", "7", {{"k", 1}}), IsErr(Code::kInternal));
}

TEST_F(RestStoreTest, ComesBackWhenTheServerSaysSo) {
  Answers({Json(429, Status(429, "TooManyRequests"), seconds(1)), Json(201, {{"a", 1}})});
  EXPECT_THAT(Store().Create(kWidgets, "ns", json::object()), IsOk());  // a refused POST has done nothing
  EXPECT_EQ(log_->requests.size(), 2U);
  Answers({Json(429, Status(429, "TooManyRequests"), seconds(3600))});
  EXPECT_THAT(store_->Get(kWidgets, "ns", "a"), IsErr(Code::kUnavailable));  // not for that long
  EXPECT_EQ(log_->requests.size(), 3U);
}

json Page(std::vector<std::string> names, const std::string& version, const std::string& token = "") {
  json items = json::array();
  for (const auto& name : names) items.push_back({{"metadata", {{"name", name}}}});
  json page = {{"metadata", {{"resourceVersion", version}}}, {"items", items}};
  if (!token.empty()) page["metadata"]["continue"] = token;
  return page;
}

TEST_F(RestStoreTest, ListsAllPages) {
  RestOptions options;
  options.page = 2;
  Answers({Json(200, Page({"a", "b"}, "9", "next/1")), Json(200, Page({"c"}, "9"))});
  const auto list = Store(options).ListAll(kWidgets);
  ASSERT_THAT(list, IsOk());
  ASSERT_EQ(list->items.size(), 3U);
  EXPECT_EQ(list->items[2]["kind"], "Widget");
  EXPECT_EQ(list->items[2]["apiVersion"], "test.signet.dev/v1");
  EXPECT_EQ(list->resource_version, "9");
  EXPECT_EQ(Request(0).target, "/apis/test.signet.dev/v1/widgets?limit=2");
  EXPECT_EQ(Request(1).target, "/apis/test.signet.dev/v1/widgets?limit=2&continue=next%2F1");
}

TEST_F(RestStoreTest, ListsOneNamespace) {
  Answers({Json(200, Page({"a"}, "9"))});
  EXPECT_THAT(Store().ListNamespace(kWidgets, "ci"), IsOk());
  EXPECT_EQ(Request(0).target, "/apis/test.signet.dev/v1/namespaces/ci/widgets?limit=500");
  EXPECT_THAT(store_->ListNamespace(kWidgets, ""), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store_->ListNamespace(kNodes, "ci"), IsErr(Code::kInvalidArgument));
}

TEST_F(RestStoreTest, GivesOutOneNamespacePageByPage) {
  Answers({Json(200, Page({"a", "b"}, "9", "t")), Json(200, Page({"c"}, "9"))});
  std::vector<std::pair<std::string, std::size_t>> given;  // with how many pages had been asked for by then
  const auto take = [&](const json& object) {
    given.emplace_back(object["metadata"]["name"].get<std::string>(), log_->requests.size());
  };
  auto& store = Store();
  EXPECT_THAT(store.ListEachIn(kWidgets, "ci", take), IsOk());
  EXPECT_THAT(given, ::testing::ElementsAre(std::pair("a", 1), std::pair("b", 1), std::pair("c", 2)));
  EXPECT_EQ(Request(0).target, "/apis/test.signet.dev/v1/namespaces/ci/widgets?limit=500");
  EXPECT_THAT(store.ListEachIn(kWidgets, "", take), IsErr(Code::kInvalidArgument));
  EXPECT_THAT(store.ListEachIn(kNodes, "ci", take), IsErr(Code::kInvalidArgument));
}

TEST_F(RestStoreTest, ListsFromTheStartWhenAPageHasExpired) {
  Answers({Json(200, Page({"a"}, "9", "t")), Json(410, Status(410, "Expired")), Json(200, Page({"b"}, "12", "t")),
           Json(200, Page({"c"}, "12"))});
  const auto list = Store().ListAll(kWidgets);
  ASSERT_THAT(list, IsOk());
  EXPECT_EQ(list->items.size(), 2U);
  EXPECT_EQ(list->resource_version, "12");
  Answers({Json(410, Status(410, "Expired"))});
  EXPECT_THAT(store_->ListAll(kWidgets), IsErr(Code::kAborted));  // and not for ever
}

TEST_F(RestStoreTest, GivesOutAPageBeforeItAsksForTheNext) {
  Answers({Json(200, Page({"a", "b"}, "9", "t")), Json(200, Page({"c"}, "9"))});
  std::vector<std::string> seen;
  const auto note = [&](const std::string& what) {
    seen.push_back(what + "@" + std::to_string(log_->requests.size()));
  };
  ASSERT_THAT(Store().ListEach(kWidgets, {note, [&](const json& object) { note(object["metadata"]["name"]); }}),
              IsOk());
  EXPECT_EQ(seen, (std::vector<std::string>{"9@1", "a@1", "b@1", "c@2"})) << "no second copy of the whole list";
}

TEST_F(RestStoreTest, AsksForNoFurtherPageOnceItIsStopped) {
  Answers({Json(200, Page({"a"}, "9", "t")), Json(200, Page({"b"}, "9"))});
  int seen = 0;
  EXPECT_THAT(
      Store().ListEach(kWidgets, {[](const std::string&) {}, [&](const json&) { ++seen; }, [&] { return seen > 0; }}),
      IsErr(Code::kAborted));
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(log_->requests.size(), 1U);
}

TEST_F(RestStoreTest, AnExpiredPageIsAnErrorToWhoHasSeenTheFirst) {
  Answers({Json(200, Page({"a"}, "9", "t")), Json(410, Status(410, "Expired"))});
  int seen = 0;
  EXPECT_THAT(Store().ListEach(kWidgets, {[](const std::string&) {}, [&](const json&) { ++seen; }}),
              IsErr(Code::kAborted));
  EXPECT_EQ(seen, 1);
}

TEST_F(RestStoreTest, AsksForPagesOfFewOctets) {
  RestOptions options;
  options.page = 64;
  options.page_body = 64 << 10;
  std::size_t object_size = 4000;
  std::size_t given = 0;
  log_->answer = [&](const HttpRequest& request) -> FakeTransport::Answer {
    EXPECT_EQ(request.max_answer, options.page_body);
    const auto limit = std::stoul(request.target.substr(request.target.find("limit=") + 6));
    json page = Page(std::vector<std::string>(limit, std::string(object_size, 'n')), "9", given < 2000 ? "t" : "");
    if (page.dump().size() > request.max_answer) return base::MakeError(Code::kInternal, "AnswerTooLarge", "too large");
    given += limit;
    if (given > 500) object_size = 10;
    return Json(200, page);
  };
  EXPECT_THAT(Store(options).ListEach(kWidgets, {[](const std::string&) {}, [](const json&) {}}), IsOk());
  std::vector<std::string> limits;
  for (const auto& request : log_->requests) {
    const auto from = request.target.find("limit=") + 6;
    const std::string limit = request.target.substr(from, request.target.find('&') - from);
    if (limits.empty() || limits.back() != limit) limits.push_back(limit);
  }
  EXPECT_EQ(limits, (std::vector<std::string>{"64", "32", "16", "8", "16", "32", "64"}));
}

/// Answers lists of `names` by limit and continue token; a page of more than `most` is too large to be read.
void ServeSmallPages(FakeTransport::Log& log, std::vector<std::string> names, std::size_t most) {
  log.answer = [names = std::move(names), most](const HttpRequest& request) -> FakeTransport::Answer {
    const auto limit = std::stoul(request.target.substr(request.target.find("limit=") + 6));
    const auto token = request.target.find("continue=");
    const auto from = token == std::string::npos ? 0 : std::stoul(request.target.substr(token + 9));
    const auto end = std::min<std::size_t>(names.size(), from + limit);
    if (end - from > most) return base::MakeError(Code::kInternal, "AnswerTooLarge", "larger than allowed");
    const std::vector<std::string> page(names.begin() + static_cast<std::ptrdiff_t>(from),
                                        names.begin() + static_cast<std::ptrdiff_t>(end));
    return Json(200, Page(page, "9", end < names.size() ? std::to_string(end) : ""));
  };
}

TEST_F(RestStoreTest, AsksForFewerObjectsWhenAPageIsTooLarge) {
  RestOptions options;
  options.page = 8;
  std::vector<std::string> names;
  for (int i = 0; i < 13; ++i) names.push_back("o" + std::to_string(i));
  for (const std::size_t most : {3, 1}) {
    log_->requests.clear();
    ServeSmallPages(*log_, names, most);
    const auto list = Store(options).ListAll(kWidgets);
    ASSERT_THAT(list, IsOk()) << most;
    std::vector<std::string> found;
    for (const auto& item : list->items) found.push_back(item["metadata"]["name"]);
    EXPECT_EQ(found, names) << "each once, in order";
    EXPECT_LE(log_->requests.size(), 2 * (names.size() + 3)) << "what was too large once is not asked for each time";
  }
}

TEST_F(RestStoreTest, GivesUpOnOneObjectThatIsTooLarge) {
  RestOptions options;
  options.page = 8;
  ServeSmallPages(*log_, {"a", "b"}, 0);
  EXPECT_THAT(Store(options).ListAll(kWidgets), IsErr(Code::kInternal, "AnswerTooLarge"));
  EXPECT_EQ(log_->requests.size(), 4U);  // 8, 4, 2, 1
}

TEST_F(RestStoreTest, RefusesAListThatIsNone) {
  Answers({Json(200, {{"items", 7}})});
  EXPECT_THAT(Store().ListAll(kWidgets), IsErr(Code::kInternal, "BadAnswer"));
  Answers({Json(200, {{"metadata", {{"resourceVersion", "1"}}}, {"items", json::array({7})}})});
  EXPECT_THAT(store_->ListAll(kWidgets), IsErr(Code::kInternal, "BadAnswer"));
}

// ---- watches ----

class WatchTest : public RestStoreTest {
 protected:
  void Start(RestOptions options = {}) {
    watch_ = Store(std::move(options))
                 .StartWatch(kWidgets, "7",
                             {[this](WatchEvent event) { events_.push_back(std::move(event)); },
                              [this](base::Status end) { ends_.push_back(std::move(end)); }});
    sink_ = log_->streams.back();
  }
  static std::string Line(const std::string& type, const json& object) {
    return json({{"type", type}, {"object", object}}).dump() + "\n";
  }

  std::vector<WatchEvent> events_;
  std::vector<base::Status> ends_;
  StreamSink sink_;
  std::unique_ptr<Watch> watch_;
};

TEST_F(WatchTest, CutsOctetsIntoEvents) {
  Start();
  EXPECT_THAT(Request(0).target, ::testing::StartsWith("/apis/test.signet.dev/v1/widgets?watch=true&"
                                                       "allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds="));
  const std::string text = Line("ADDED", {{"n", 1}}) + Line("MODIFIED", {{"n", 2}}) + Line("DELETED", {{"n", 3}}) +
                           Line("BOOKMARK", {{"metadata", {{"resourceVersion", "9"}}}});
  sink_.on_octets(text.substr(0, 5));  // octets may come before the status
  EXPECT_TRUE(events_.empty());
  sink_.on_status(200, seconds(0));
  for (std::size_t i = 5; i < text.size(); ++i) sink_.on_octets(text.substr(i, 1));
  ASSERT_EQ(events_.size(), 4U);
  EXPECT_EQ(events_[0].type, WatchEvent::Type::kAdded);
  EXPECT_EQ(events_[1].object["n"], 2);
  EXPECT_EQ(events_[2].type, WatchEvent::Type::kDeleted);
  EXPECT_EQ(events_[3].type, WatchEvent::Type::kBookmark);
  sink_.on_end({});
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_THAT(ends_[0], IsOk());
}

TEST_F(WatchTest, EndsWithTheServersError) {
  Start();
  sink_.on_status(200, seconds(0));
  sink_.on_octets(Line("ERROR", Status(410, "Expired")) + Line("ADDED", {{"n", 1}}));
  sink_.on_end({});
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_THAT(ends_[0], IsErr(Code::kAborted, "Expired"));
  EXPECT_TRUE(events_.empty());
  EXPECT_TRUE(log_->cancelled[0]);
}

TEST_F(WatchTest, ReadsAnErrorStatus) {
  Start();
  sink_.on_octets(Status(403, "Forbidden").dump().substr(0, 9));
  sink_.on_status(403, seconds(0));
  sink_.on_octets(Status(403, "Forbidden").dump().substr(9) + "\n");
  sink_.on_end({});
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_THAT(ends_[0], IsErr(Code::kPermissionDenied, "Forbidden"));
}

TEST_F(WatchTest, ReportsABrokenConnectionAndACutEvent) {
  Start();
  sink_.on_status(200, seconds(0));
  sink_.on_end(Broken());
  Start();
  sink_.on_status(200, seconds(0));
  sink_.on_octets(R"({"type":"ADDED")");
  sink_.on_end({});
  ASSERT_EQ(ends_.size(), 2U);
  EXPECT_THAT(ends_[0], IsErr(Code::kUnavailable, "NoConnection"));
  EXPECT_THAT(ends_[1], IsErr(Code::kUnavailable, "WatchCut"));
}

TEST_F(WatchTest, RefusesWhatIsNoEvent) {
  for (const std::string line : {"nonsense\n", "[]\n", "{}\n",
                                 R"({"type":7,"object":{}})"
                                 "\n",
                                 R"({"type":"NEW","object":{}})"
                                 "\n",
                                 R"({"type":"ADDED","object":{},"object":{}})"
                                 "\n"}) {
    Start();
    sink_.on_status(200, seconds(0));
    sink_.on_octets(line);
    ASSERT_EQ(ends_.size(), 1U) << line;
    EXPECT_THAT(ends_[0], IsErr(Code::kInternal, "BadAnswer")) << line;
    ends_.clear();
  }
}

TEST_F(WatchTest, BoundsAnEvent) {
  RestOptions options;
  options.max_line = 1000;
  Start(options);
  sink_.on_status(200, seconds(0));
  for (int i = 0; i < 100; ++i) sink_.on_octets(Line("ADDED", {{"n", i}}));  // many small ones are fine
  sink_.on_octets(std::string(1001, 'x'));
  ASSERT_EQ(ends_.size(), 1U);
  EXPECT_THAT(ends_[0], IsErr(Code::kInternal, "EventTooLarge"));
  EXPECT_EQ(events_.size(), 100U);
}

TEST_F(WatchTest, SaysNothingAfterItIsGone) {
  Start();
  sink_.on_status(200, seconds(0));
  watch_.reset();
  EXPECT_TRUE(log_->cancelled[0]);
  sink_.on_octets(Line("ADDED", {{"n", 1}}));
  sink_.on_end(Broken());
  EXPECT_TRUE(events_.empty());
  EXPECT_TRUE(ends_.empty());
}

TEST_F(WatchTest, MayOutliveItsStore) {
  Start();
  store_.reset();
  sink_.on_status(200, seconds(0));
  sink_.on_octets(Line("ADDED", {{"n", 1}}));
  EXPECT_EQ(events_.size(), 1U);
}

}  // namespace
}  // namespace signet::kube
