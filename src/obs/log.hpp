// obs/log.hpp - one JSON line per event on stderr: a constant message and fields.
//
//   obs::Info("policy loaded", {{"policy", name}, {"generation", generation}});
//
// Never a PIN, token, key or message content. Thread-safety: any thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace signet::obs {

enum class Level : std::uint8_t { kDebug, kInfo, kWarn, kError };

struct Field {
  Field(std::string_view field_key, std::string_view text) : key(field_key), value(text) {}
  Field(std::string_view field_key, const char* text) : key(field_key), value(text) {}
  Field(std::string_view field_key, const std::string& text) : key(field_key), value(text) {}
  template <class Number, class = std::enable_if_t<std::is_arithmetic_v<Number>>>
  Field(std::string_view field_key, Number number) : key(field_key), value(std::to_string(number)), raw(true) {}
  std::string_view key;
  std::string value;
  bool raw = false;  ///< written without quotes
};

/// "debug", "info", "warn", "error"; the default is info. Text format for people on a terminal.
void SetLevel(Level level);
void SetTextFormat(bool text);
bool ParseLevel(std::string_view name, Level& out);

void Log(Level level, std::string_view message, std::initializer_list<Field> fields = {});
inline void Debug(std::string_view m, std::initializer_list<Field> f = {}) { Log(Level::kDebug, m, f); }
inline void Info(std::string_view m, std::initializer_list<Field> f = {}) { Log(Level::kInfo, m, f); }
inline void Warn(std::string_view m, std::initializer_list<Field> f = {}) { Log(Level::kWarn, m, f); }
inline void Err(std::string_view m, std::initializer_list<Field> f = {}) { Log(Level::kError, m, f); }

}  // namespace signet::obs
