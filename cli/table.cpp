#include "cli/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "cli/context.hpp"

namespace signet::cli {
namespace {

constexpr std::size_t kGap = 3;
constexpr std::size_t kNarrowest = 8;

std::string Cut(std::string_view text, std::size_t width) {
  if (Width(text) <= width) return std::string(text);
  std::string out(text);
  while (Width(out) >= width && !out.empty()) {
    do out.pop_back();
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0U) == 0x80U);
    // A multi-octet character ends with continuation octets; its lead goes with them.
    if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0U) out.pop_back();
  }
  return out + "…";
}

/// The widest column gives way until the line fits.
void Shrink(std::vector<std::size_t>& widths, std::size_t columns) {
  const std::size_t gaps = kGap * (widths.size() - 1);
  for (;;) {
    const std::size_t total = std::accumulate(widths.begin(), widths.end(), gaps);
    const auto widest = std::max_element(widths.begin(), widths.end());
    if (total <= columns || *widest <= kNarrowest) return;
    --*widest;
  }
}

}  // namespace

void Table::Add(std::vector<std::string> cells) {
  for (auto& cell : cells) cell = cell.empty() ? "-" : Clean(cell);
  cells.resize(rows_.front().size(), "-");
  rows_.push_back(std::move(cells));
}

std::string Table::Render(int columns) const {
  std::vector<std::size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  if (columns > 0) Shrink(widths, static_cast<std::size_t>(columns));
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string cell = Cut(row[i], widths[i]);
      line += cell + std::string(widths[i] + kGap - Width(cell), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

void Sheet::Add(std::string label, std::string value) {
  if (!value.empty()) lines_.emplace_back(std::move(label), std::move(value));
}

std::string Sheet::Render() const {
  std::size_t width = 0;
  for (const auto& [label, value] : lines_) width = std::max(width, Width(label) + 1);
  std::string out;
  for (const auto& [label, value] : lines_) {
    std::string_view rest = value;
    for (bool first = true; first || !rest.empty(); first = false) {
      const auto end = std::min(rest.find('\n'), rest.size());
      const std::string head = first && !label.empty() ? label + ":" : "";
      out += fmt::format("{}{}  {}\n", head, std::string(width - Width(head), ' '), Clean(rest.substr(0, end)));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return out;
}

}  // namespace signet::cli
