#include "frontend/scrape_token.hpp"

#include <algorithm>
#include <utility>

#include "authn/bearer_token.hpp"
#include "crypto/hmac.hpp"
#include "obs/log.hpp"

namespace signet::frontend {

bool ScrapeToken::Allows(std::string_view authorization) {
  Read();
  const auto shown = authn::BearerOf(authorization);
  return token_ && shown && crypto::EqualConstantTime(base::AsBytes(*shown), token_->Reveal());
}

void ScrapeToken::Read() {
  auto content = file_.Look(false);
  if (!content) return Complain(content.error().message);
  if (!*content) return;
  std::string& text = **content;
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (printable && text.size() >= kMinBytes) {
    token_.emplace(base::ToBytes(base::AsBytes(text)));
    problem_.clear();
  } else {
    Complain(file_.path() + " holds no token of 16 printable characters or more");
  }
  base::WipeMemory(text.data(), text.size());
}

void ScrapeToken::Complain(const std::string& problem) {
  if (problem == problem_) return;
  problem_ = problem;
  obs::Warn("no new token for scrapes of /metrics: the last one, if any, stays in force", {{"problem", problem}});
}

}  // namespace signet::frontend
