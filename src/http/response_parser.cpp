#include "http/response_parser.hpp"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <optional>
#include <utility>

#include "http/beast_text.hpp"

namespace signet::http {
namespace {

namespace beast = boost::beast;
using beast::http::field;
using ErrorCode = beast::error_code;

constexpr std::size_t kMostReserved = 64 * 1024;

bool SameName(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return Lower(x) == Lower(y); });
}

}  // namespace

struct ResponseParser::Impl {
  /// One message; Beast's parser cannot be used twice.
  class Message final : public beast::http::basic_parser<false> {
   public:
    explicit Message(Impl& owner) : owner_(owner) {}

   private:
    void on_request_impl(beast::http::verb /*verb*/, beast::string_view /*method*/, beast::string_view /*target*/,
                         int /*version*/, ErrorCode& /*error*/) override {}
    void on_response_impl(int status, beast::string_view /*reason*/, int /*version*/, ErrorCode& /*error*/) override {
      owner_.response.status = status;
    }
    void on_field_impl(field name, beast::string_view text, beast::string_view value, ErrorCode& /*error*/) override {
      owner_.OnField(name, View(text), View(value));
    }
    void on_header_impl(ErrorCode& /*error*/) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>& length, ErrorCode& /*error*/) override {
      // What a peer merely announces is not allocated: memory follows the octets that arrive.
      if (length)
        owner_.response.body.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(*length, kMostReserved)));
    }
    std::size_t on_body_impl(beast::string_view part, ErrorCode& /*error*/) override {
      owner_.response.body.append(part.data(), part.size());
      return part.size();
    }
    void on_chunk_header_impl(std::uint64_t /*size*/, beast::string_view /*extensions*/,
                              ErrorCode& /*error*/) override {}
    std::size_t on_chunk_body_impl(std::uint64_t /*remain*/, beast::string_view part, ErrorCode& /*error*/) override {
      owner_.response.body.append(part.data(), part.size());
      return part.size();
    }
    void on_finish_impl(ErrorCode& /*error*/) override {}

    Impl& owner_;
  };

  Impl(ResponseParser::Limits given, const std::vector<std::string>& names) : limits(given), wanted(names) {
    Restart();
  }

  void Restart() {
    message.emplace(*this);
    message->header_limit(static_cast<std::uint32_t>(limits.header_bytes));
    message->body_limit(limits.body_bytes);
    state = State::kHeader;
    refusal = {};
    header_bytes = 0;
    started = false;
    response = Response();
    response.content_type.clear();
  }

  void OnField(field name, std::string_view text, std::string_view value) {
    if (state != State::kHeader) return;  // trailer
    if (name == field::content_type) {
      response.content_type = value;
      return;
    }
    for (const std::string& want : wanted) {
      if (SameName(text, want)) response.headers.emplace_back(want, value);
    }
  }

  void Refuse(std::string_view why) {
    refusal = why;
    state = State::kRefused;
  }
  void RefuseFor(const ErrorCode& error) {
    using beast::http::make_error_code;
    using Kind = beast::http::error;
    if (error == make_error_code(Kind::body_limit)) return Refuse("the answer is too large");
    if (error == make_error_code(Kind::header_limit)) return Refuse("the answer's header is too large");
    Refuse("the answer is not HTTP/1.1");
  }

  std::size_t Feed(std::string_view data) {
    if (data.empty()) return 0;
    if (state == State::kHeader) return FeedHeader(data);
    if (state != State::kBody) return 0;
    // Beast 1.74 asserts that a last chunk is offered again in five octets or more. That holds after other chunks,
    // whose CRLF comes before it, but not for a body that has no other: wait for all of that one.
    if (message->chunked() && response.body.empty() && data.front() == '0' && data.size() < kEmptyChunked.size()) {
      return 0;
    }
    ErrorCode error;
    message->eager(true);
    const std::size_t consumed = message->put({data.data(), data.size()}, error);
    if (error && error != beast::http::make_error_code(beast::http::error::need_more)) {
      RefuseFor(error);
    } else if (message->is_done()) {
      state = State::kComplete;
    }
    return consumed;
  }

  std::size_t FeedHeader(std::string_view data) {
    started = true;
    ErrorCode error;
    message->eager(false);
    const std::size_t consumed = message->put({data.data(), data.size()}, error);
    header_bytes += consumed;
    const bool more = error == beast::http::make_error_code(beast::http::error::need_more);
    // Beast's own limit is for what is still unparsed; a header may not be endless in small fields either.
    if (header_bytes + (more ? data.size() - consumed : 0) > limits.header_bytes) {
      Refuse("the answer's header is too large");
    } else if (error && !more) {
      RefuseFor(error);
    } else if (!more) {
      FinishHeader();
    }
    return consumed;
  }

  void FinishHeader() {
    if (response.status == 101) return Refuse("the answer switches protocols");
    if (response.status < 200) return Restart();
    if (message->need_eof()) return Refuse("the answer has no length");
    state = message->is_done() ? State::kComplete : State::kBody;
  }

  ResponseParser::Limits limits;
  const std::vector<std::string>& wanted;
  std::optional<Message> message;
  State state = State::kHeader;
  std::string_view refusal;
  std::size_t header_bytes = 0;
  bool started = false;
  Response response;
};

ResponseParser::ResponseParser(Limits limits, const std::vector<std::string>& wanted)
    : impl_(std::make_unique<Impl>(limits, wanted)) {}
ResponseParser::~ResponseParser() = default;
ResponseParser::ResponseParser(ResponseParser&&) noexcept = default;
ResponseParser& ResponseParser::operator=(ResponseParser&&) noexcept = default;

std::size_t ResponseParser::Feed(std::string_view data) { return impl_->Feed(data); }
void ResponseParser::Reset() { impl_->Restart(); }
ResponseParser::State ResponseParser::state() const { return impl_->state; }
bool ResponseParser::started() const { return impl_->started; }
bool ResponseParser::keep_alive() const { return impl_->message->keep_alive(); }
std::string_view ResponseParser::refusal() const { return impl_->refusal; }
Response ResponseParser::Take() { return std::move(impl_->response); }

}  // namespace signet::http
