#include "http/request_parser.hpp"

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

constexpr std::size_t kReserved = 64 * 1024;  // at most, on a client's word alone

std::string ToLower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), Lower);
  return lower;
}
bool EqualsIgnoringCase(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() &&
         std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) { return Lower(a) == b; });
}

using Refusal = RequestParser::Refusal;
constexpr Refusal kBadSyntax{400, "Malformed", "the request is not HTTP/1.1: send what RFC 9112 describes"};
constexpr Refusal kBadVersion{400, "Malformed", "only HTTP/1.1 and HTTP/1.0 are served here"};
constexpr Refusal kHeaderTooLarge{431, "HeaderTooLarge", "the header is too large: send fewer or shorter fields"};
constexpr Refusal kBodyTooLarge{413, "TooLarge", "the body is too large: sign a digest, or send smaller batches"};
constexpr Refusal kBadLength{400, "Malformed", "the body's length is ambiguous: send one Content-Length or chunked"};
constexpr Refusal kBadHost{400, "Malformed", "HTTP/1.1 needs exactly one Host field: send one"};
constexpr Refusal kBadExpect{417, "ExpectationFailed", "the only expectation served is 100-continue: leave Expect out"};

}  // namespace

struct RequestParser::Impl {
  /// One message; Beast's parser cannot be used twice.
  class Message final : public beast::http::basic_parser<true> {
   public:
    explicit Message(Impl& owner) : owner_(owner) {}

   private:
    void on_request_impl(beast::http::verb /*verb*/, beast::string_view method, beast::string_view target, int version,
                         ErrorCode& /*error*/) override {
      owner_.http10 = version == 10;
      owner_.OnRequestLine(View(method), View(target));
    }
    void on_response_impl(int /*status*/, beast::string_view /*reason*/, int /*version*/,
                          ErrorCode& /*error*/) override {}
    void on_field_impl(field name, beast::string_view text, beast::string_view value, ErrorCode& error) override {
      if (!owner_.OnField(name, View(text), View(value))) error = beast::http::error::bad_value;
    }
    void on_header_impl(ErrorCode& /*error*/) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>& length, ErrorCode& /*error*/) override {
      // What a peer merely announces is not allocated: memory follows the octets that arrive.
      if (length) owner_.body.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(*length, kReserved)));
    }
    std::size_t on_body_impl(beast::string_view part, ErrorCode& /*error*/) override {
      owner_.body.append(part.data(), part.size());
      return part.size();
    }
    void on_chunk_header_impl(std::uint64_t /*size*/, beast::string_view /*extensions*/,
                              ErrorCode& /*error*/) override {}
    std::size_t on_chunk_body_impl(std::uint64_t /*remain*/, beast::string_view part, ErrorCode& /*error*/) override {
      owner_.body.append(part.data(), part.size());
      return part.size();
    }
    void on_finish_impl(ErrorCode& /*error*/) override {}

    Impl& owner_;
  };

  Impl(RequestParser::Limits given, const std::vector<std::string>& names) : limits(given), wanted(names) { Restart(); }

  void Restart() {
    message.emplace(*this);
    message->header_limit(static_cast<std::uint32_t>(limits.header_bytes));
    message->body_limit(limits.body_bytes);
    state = State::kHeader;
    refusal = {};
    header_bytes = 0;
    hosts = 0;
    started = head = http10 = expect = false;
    method.clear();
    target.clear();
    authority.clear();
    content_type.clear();
    host.clear();
    headers.clear();
    std::string().swap(body);  // an idle connection holds none; assigning an empty one would keep the memory
  }

  void OnRequestLine(std::string_view verb, std::string_view uri) {
    method = verb;
    head = verb == "HEAD";
    // A server accepts the absolute form, whose authority then counts instead of Host (RFC 9112 section 3.2.2).
    constexpr std::string_view kScheme = "http://";
    if (uri.size() > kScheme.size() && EqualsIgnoringCase(uri.substr(0, kScheme.size()), kScheme)) {
      const std::string_view rest = uri.substr(kScheme.size());
      const std::size_t path = std::min(rest.find_first_of("/?"), rest.size());
      authority = rest.substr(0, path);
      target = path < rest.size() && rest[path] == '/' ? rest.substr(path) : "/" + std::string(rest.substr(path));
      return;
    }
    authority.clear();
    target = uri;
  }

  /// False: a field that makes the whole request unacceptable; `refusal` says why.
  bool OnField(field name, std::string_view text, std::string_view value) {
    if (state != State::kHeader) return true;  // trailer
    switch (name) {
      case field::host:
        host = value;
        ++hosts;
        return true;
      case field::content_type:
        content_type = ToLower(value.substr(0, value.find(';')));
        content_type.erase(content_type.find_last_not_of(" \t") + 1);
        return true;
      case field::transfer_encoding:
        if (EqualsIgnoringCase(value, "chunked")) return true;
        refusal = kBadLength;
        return false;
      case field::expect:
        expect = EqualsIgnoringCase(value, "100-continue");
        if (expect) return true;
        refusal = kBadExpect;
        return false;
      default:
        break;
    }
    for (const std::string& want : wanted) {
      if (EqualsIgnoringCase(text, want)) headers.emplace_back(want, value);
    }
    return true;
  }

  void Refuse(Refusal why) {
    if (refusal.code.empty()) refusal = why;
    state = State::kRefused;
  }
  void RefuseFor(const ErrorCode& error) {
    using beast::http::make_error_code;
    using Kind = beast::http::error;
    const auto is = [&error](Kind kind) { return error == make_error_code(kind); };
    if (is(Kind::body_limit)) return Refuse(kBodyTooLarge);
    if (is(Kind::header_limit)) return Refuse(kHeaderTooLarge);
    if (is(Kind::bad_version)) return Refuse(kBadVersion);
    if (is(Kind::bad_content_length) || is(Kind::bad_transfer_encoding)) return Refuse(kBadLength);
    Refuse(kBadSyntax);
  }

  std::size_t Feed(std::string_view data) {
    if (data.empty()) return 0;
    started = true;
    ErrorCode error;
    std::size_t consumed = 0;
    if (state == State::kHeader) {
      message->eager(false);  // stop after the header: the caller may have to say "100 Continue"
      consumed = message->put({data.data(), data.size()}, error);
      header_bytes += consumed;
      const bool more = error == beast::http::make_error_code(beast::http::error::need_more);
      // Beast's own limit is for what is still unparsed; a header may not be endless in small fields either.
      if (header_bytes + (more ? data.size() - consumed : 0) > limits.header_bytes) {
        Refuse(kHeaderTooLarge);
        return consumed;
      }
      if (more) return consumed;
      if (error) {
        RefuseFor(error);
        return consumed;
      }
      FinishHeader();
      return consumed;
    }
    if (state != State::kBody) return 0;
    // Beast 1.74 asserts that a last chunk is offered again in five octets or more. That holds after other chunks,
    // whose CRLF comes before it, but not for a body that has no other: wait for all of that one.
    if (message->chunked() && body.empty() && data.front() == '0' && data.size() < kEmptyChunked.size()) return 0;
    message->eager(true);
    consumed = message->put({data.data(), data.size()}, error);
    if (error && error != beast::http::make_error_code(beast::http::error::need_more)) {
      RefuseFor(error);
    } else if (message->is_done()) {
      state = State::kComplete;
    }
    return consumed;
  }

  void FinishHeader() {
    if (hosts > 1 || (hosts == 0 && !http10)) return Refuse(kBadHost);
    if (!authority.empty()) host = authority;
    if (http10 && message->chunked()) return Refuse(kBadLength);
    state = message->is_done() ? State::kComplete : State::kBody;
  }

  RequestParser::Limits limits;
  const std::vector<std::string>& wanted;
  std::optional<Message> message;
  State state = State::kHeader;
  Refusal refusal;
  std::size_t header_bytes = 0;
  int hosts = 0;
  bool started = false, head = false, http10 = false, expect = false;
  std::string method, target, authority, content_type, host, body;
  std::vector<std::pair<std::string_view, std::string>> headers;
};

RequestParser::RequestParser(Limits limits, const std::vector<std::string>& wanted)
    : impl_(std::make_unique<Impl>(limits, wanted)) {}
RequestParser::~RequestParser() = default;
RequestParser::RequestParser(RequestParser&&) noexcept = default;
RequestParser& RequestParser::operator=(RequestParser&&) noexcept = default;

std::size_t RequestParser::Feed(std::string_view data) { return impl_->Feed(data); }
void RequestParser::Reset() { impl_->Restart(); }
void RequestParser::DropBody() { std::string().swap(impl_->body); }

RequestParser::State RequestParser::state() const { return impl_->state; }
const RequestParser::Refusal& RequestParser::refusal() const { return impl_->refusal; }
bool RequestParser::started() const { return impl_->started; }
bool RequestParser::keep_alive() const { return impl_->message->keep_alive(); }
bool RequestParser::http10() const { return impl_->http10; }
bool RequestParser::head() const { return impl_->head; }
bool RequestParser::expects_continue() const { return impl_->expect && !impl_->http10; }
std::size_t RequestParser::body_capacity() const {
  return impl_->body.capacity() > std::string().capacity() ? impl_->body.capacity() : 0;
}
std::string_view RequestParser::host() const { return impl_->host; }

void RequestParser::Fill(Request& out) const {
  const Impl& from = *impl_;
  const std::string_view target = from.target;
  const std::size_t question = std::min(target.find('?'), target.size());
  out.method = from.method;
  out.target = target.substr(0, question);
  out.query = question < target.size() ? target.substr(question + 1) : std::string_view();
  out.content_type = from.content_type;
  out.body = from.body;
  out.headers.clear();
  for (const auto& [name, value] : from.headers) out.headers.emplace_back(name, value);
}

bool NamesLoopback(std::string_view host) {
  if (host.starts_with("[::1]")) {
    host.remove_prefix(5);
  } else {
    const std::size_t end = std::min(host.find(':'), host.size());
    const std::string_view name = host.substr(0, end);
    if (!EqualsIgnoringCase(name, "localhost") && name != "127.0.0.1") return false;
    host.remove_prefix(end);
  }
  if (host.empty()) return true;
  if (host.front() != ':') return false;
  host.remove_prefix(1);
  return !host.empty() && host.size() <= 5 &&
         std::all_of(host.begin(), host.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace signet::http
