#include "encoding/json.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace signet::encoding {
namespace {

using nlohmann::json;

/// Builds a value as the parser reports it; refuses what nlohmann's own DOM accepts silently. Members of the name
/// `skipped` are read and not built.
class StrictBuilder final : public nlohmann::json_sax<json> {
 public:
  explicit StrictBuilder(std::string_view skipped) : skipped_(skipped) {}
  json Take() { return std::move(root_); }
  [[nodiscard]] const std::string& problem() const { return problem_; }

  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_integer(number_integer_t value) override { return Put(value); }
  bool number_unsigned(number_unsigned_t value) override { return Put(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (!std::isfinite(value)) return Fail(fmt::format("the number {} does not fit", text.substr(0, 32)));
    return Put(value);
  }
  bool string(string_t& value) override { return skipping_ ? EndSkipped() : Put(std::move(value)); }
  bool binary(binary_t& /*value*/) override { return Fail("binary values are not JSON"); }
  bool start_object(std::size_t /*elements*/) override { return Open(json::object()); }
  bool start_array(std::size_t /*elements*/) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    if (skipping_) return true;
    if (!skipped_.empty() && name == skipped_) {
      skipping_ = true;
      depth_ = 0;
      return true;
    }
    const auto [member, added] = stack_.back()->get_ref<json::object_t&>().try_emplace(std::move(name), nullptr);
    if (!added) return Fail(fmt::format("the key \"{}\" appears twice", member->first.substr(0, 64)));
    member_ = &member->second;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/, const json::exception& /*error*/) override {
    return Fail(fmt::format("not JSON at byte {}", position));
  }

 private:
  bool Fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }
  json* Add(json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (stack_.back()->is_array()) {
      stack_.back()->push_back(std::move(value));
      return &stack_.back()->back();
    }
    *member_ = std::move(value);
    return member_;
  }
  bool Put(json value) {
    if (skipping_) return EndSkipped();
    Add(std::move(value));
    return true;
  }
  /// A value inside a skipped member has ended; the member has, too, if it is the member's own.
  bool EndSkipped() {
    skipping_ = depth_ > 0;
    return true;
  }
  bool Open(json value) {
    if (stack_.size() + depth_ >= kMaxJsonDepth)
      return Fail(fmt::format("nested deeper than {} levels", kMaxJsonDepth));
    if (skipping_) {
      ++depth_;
      return true;
    }
    stack_.push_back(Add(std::move(value)));
    return true;
  }
  bool Close() {
    if (skipping_) {
      --depth_;
      return EndSkipped();
    }
    stack_.pop_back();
    return true;
  }

  json root_;
  std::vector<json*> stack_;
  json* member_ = nullptr;  ///< of the object on top of the stack: where the next value belongs
  std::string problem_;
  std::string_view skipped_;
  bool skipping_ = false;
  std::size_t depth_ = 0;  ///< of containers inside the skipped member
};

base::Result<json> Parse(std::string_view text, std::string_view skipped) {
  StrictBuilder builder(skipped);
  bool parsed = false;
  try {
    parsed = json::sax_parse(text, &builder);
  } catch (const json::exception& error) {
    return base::MakeError(base::Code::kInvalidArgument, "Malformed", error.what());
  }
  if (!parsed) return base::MakeError(base::Code::kInvalidArgument, "Malformed", builder.problem());
  return builder.Take();
}

}  // namespace

base::Result<json> ParseJson(std::string_view text) { return Parse(text, ""); }

base::Result<json> ParseObject(std::string_view text) { return Parse(text, "managedFields"); }

const json& At(const json& object, std::string_view name) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

std::string TextAt(const json& object, std::string_view name) {
  const json& value = At(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

}  // namespace signet::encoding
