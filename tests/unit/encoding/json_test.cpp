#include "encoding/json.hpp"

#include <nlohmann/json.hpp>

#include "support/matchers.hpp"

namespace signet::encoding {
namespace {

using base::Code;
using testing::IsErr;

TEST(ParseJsonTest, ReadsOrdinaryValues) {
  const auto parsed = ParseJson(R"({"a":[1,-2,2.5,true,null,{"b":"c"}],"d":{}})");
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->dump(), R"({"a":[1,-2,2.5,true,null,{"b":"c"}],"d":{}})");
}

TEST(ParseJsonTest, RefusesWhatOthersAcceptSilently) {
  for (const char* text : {R"({"a":1,"a":2})", R"({"x":{"a":1,"a":1}})", "1e400", "[1]x", "", "{", "[1,]", "{'a':1}",
                           "\"\xff\"", "NaN", "01", "[1] [2]", "// c\n1"}) {
    EXPECT_THAT(ParseJson(text), IsErr(Code::kInvalidArgument, "Malformed")) << text;
  }
}

TEST(ParseJsonTest, BoundsTheDepth) {
  EXPECT_TRUE(ParseJson(std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']')).has_value());
  EXPECT_THAT(ParseJson(std::string(kMaxJsonDepth + 1, '[') + std::string(kMaxJsonDepth + 1, ']')),
              IsErr(Code::kInvalidArgument, "Malformed"));
  EXPECT_THAT(ParseJson(std::string(1000000, '[')), IsErr(Code::kInvalidArgument, "Malformed"));
}

TEST(ParseJsonTest, NamesTheRepeatedKey) {
  const auto parsed = ParseJson(R"({"policy":"a","policy":"b"})");
  ASSERT_FALSE(parsed.has_value());
  EXPECT_THAT(parsed.error().message, ::testing::HasSubstr("\"policy\" appears twice"));
}

TEST(ParseObjectTest, LeavesOutManagedFields) {
  const auto parsed = ParseObject(
      R"({"metadata":{"name":"a","managedFields":[{"fieldsV1":{"f:spec":{".":{},"x":[1,-2,2.5,true,null,"t"]}}}],"uid":"u"},
          "items":[{"managedFields":null,"b":1},{"managedFields":"x"},{"managedFields":{}},{"managedFields":[]},
                   {"managedFields":7,"c":2}],"spec":{"managed":[]}})");
  ASSERT_THAT(parsed, testing::IsOk());
  EXPECT_EQ(parsed->dump(),
            R"({"items":[{"b":1},{},{},{},{"c":2}],"metadata":{"name":"a","uid":"u"},"spec":{"managed":[]}})");
  EXPECT_TRUE(ParseJson(R"({"managedFields":[1]})")->contains("managedFields"));
}

TEST(ParseObjectTest, ChecksWhatItLeavesOut) {
  const std::string deep = std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']');
  for (const std::string& text : {std::string(R"({"managedFields":[1,]})"), std::string(R"({"managedFields":})"),
                                  std::string("{\"managedFields\":\"\xff\"}"), std::string(R"({"managedFields":[)"),
                                  R"({"managedFields":)" + deep + "}", std::string(R"({"managedFields":1e400})"),
                                  std::string(R"({"managedFields":[{}]]})")}) {
    EXPECT_THAT(ParseObject(text), IsErr(Code::kInvalidArgument, "Malformed")) << text;
  }
}

TEST(AtTest, ReturnsNullForWhatIsNotThere) {
  const nlohmann::json object = {{"a", 1}, {"b", nullptr}};
  EXPECT_EQ(At(object, "a"), 1);
  EXPECT_TRUE(At(object, "b").is_null());
  EXPECT_TRUE(At(object, "c").is_null());
  for (const auto& other : {nlohmann::json("text"), nlohmann::json({1, 2}), nlohmann::json(7), nlohmann::json()}) {
    EXPECT_TRUE(At(other, "a").is_null()) << other;
  }
}

TEST(TextAtTest, ReturnsStringsOnly) {
  const nlohmann::json object = {{"text", "x"}, {"number", 1}, {"list", {"x"}}, {"null", nullptr}};
  EXPECT_EQ(TextAt(object, "text"), "x");
  for (const char* name : {"number", "list", "null", "absent"}) EXPECT_EQ(TextAt(object, name), "") << name;
  EXPECT_EQ(TextAt("x", "text"), "");
  EXPECT_EQ(TextAt(At(object, "absent"), "text"), "");
}

}  // namespace
}  // namespace signet::encoding
