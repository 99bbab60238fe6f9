#include "obs/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/printable.hpp"

namespace signet::obs {
namespace {

std::atomic<Level> threshold{Level::kInfo};
std::atomic<bool> text_format{false};
constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warn", "error"};

spdlog::logger& Sink() {
  static spdlog::logger logger = [] {
    spdlog::logger created("signet", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created.set_pattern("%v");
    created.set_level(spdlog::level::trace);
    return created;
  }();
  return logger;
}

std::string Quote(std::string_view text) {
  return base::PrintableJson(nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

void SetLevel(Level level) { threshold = level; }
void SetTextFormat(bool text) { text_format = text; }

bool ParseLevel(std::string_view name, Level& out) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] != name) continue;
    out = static_cast<Level>(i);
    return true;
  }
  return false;
}

void Log(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (level < threshold.load(std::memory_order_relaxed)) return;
  const std::string_view name = kNames.at(static_cast<std::size_t>(level));
  const std::string time = base::FormatTime(base::SystemClock().Now());
  std::string line;
  if (text_format) {
    line = fmt::format("{} {:<5} {}", time, name, message);
    for (const auto& field : fields)
      line += fmt::format(" {}={}", field.key, field.raw ? field.value : Quote(field.value));
  } else {
    line = fmt::format(R"({{"time":"{}","level":"{}","msg":{})", time, name, Quote(message));
    for (const auto& field : fields) {
      line += fmt::format(R"(,"{}":{})", field.key, field.raw ? field.value : Quote(field.value));
    }
    line += '}';
  }
  Sink().log(spdlog::level::info, line);
}

}  // namespace signet::obs
