// audit/record.hpp - how a line of the record is put together, and where the chain stands.
//
// Every line: {"stream","seq","prev","time","type",...}. LineWriter appends lines to a string that
// the journal writes out; no JSON library is involved (docs/adr/0003).
//
// Thread-safety: none; loop thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "audit/journal.hpp"
#include "base/bytes.hpp"
#include "base/clock.hpp"

namespace signet::audit {

inline constexpr std::string_view kFormat = "signet.dev/audit/v1";
inline constexpr std::string_view kTypeStream = "stream";        ///< first line of a stream
inline constexpr std::string_view kTypeSegment = "segment";      ///< first line of each later file
inline constexpr std::string_view kTypeRecovered = "recovered";  ///< closes a torn line
inline constexpr std::string_view kTypeResumed = "resumed";      ///< after lines could not be written
inline constexpr std::string_view kTypeIntent = "intent";
inline constexpr std::string_view kTypeOutcome = "outcome";
inline constexpr std::string_view kTypeRelease = "release";
inline constexpr std::string_view kTypeRefused = "refused";
inline constexpr std::size_t kMaxAnnotationBytes = 4096;  ///< of keys and values, in one intent
inline constexpr std::string_view kDoorController = "controller";

/// Lower-case hex SHA-256.
using HashText = std::array<char, 64>;
inline constexpr HashText kNoHash = [] {
  HashText zeros{};
  zeros.fill('0');
  return zeros;
}();
HashText HashOf(std::string_view line);
inline std::string_view View(const HashText& hash) { return {hash.data(), hash.size()}; }

/// Where a stream stands after its last line.
struct Position {
  std::string stream;  ///< 32 hex digits
  std::uint64_t seq = 0;
  HashText head = kNoHash;
};

/// Octets of lines that were never completed, closed by the next record.
struct Torn {
  std::uint64_t bytes = 0;
  HashText hash = kNoHash;
};

/// "signed", "failed", "discarded", "unknown".
std::string_view Name(Result result);

class LineWriter {
 public:
  LineWriter(const base::Clock& clock, Position position) : clock_(clock), position_(std::move(position)) {}

  void Intent(std::string& out, const audit::Intent& record);
  void Outcome(std::string& out, const audit::Outcome& record);
  void Release(std::string& out, const audit::Release& record);
  void Refusal(std::string& out, const audit::Refusal& record, bool overflow);
  /// `recovered`, `stream` and `segment` may name torn octets that stand before them.
  void Stream(std::string& out, const Torn& torn);
  void Segment(std::string& out, std::uint64_t number, std::string_view checkpoint, const Torn& torn);
  void Recovered(std::string& out, const Torn& torn, std::string_view reason);
  void Resumed(std::string& out, std::string_view reason);
  void Event(std::string& out, std::string_view type, const std::map<std::string, std::string>& fields);

  [[nodiscard]] const Position& position() const { return position_; }
  void Rewind(const Position& position) { position_ = position; }
  /// UTC date of the line written last, "2026-11-23".
  [[nodiscard]] std::string_view date() const { return std::string_view(second_).substr(0, 10); }

 private:
  void Begin(std::string& out, std::string_view type);
  void End(std::string& out);
  void AppendTime(std::string& out);

  const base::Clock& clock_;
  Position position_;
  std::size_t line_start_ = 0;
  std::int64_t second_number_ = -1;
  std::string second_;  ///< "2026-11-23T09:00:01", formatted once a second
};

}  // namespace signet::audit
