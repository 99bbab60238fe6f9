// tests/fakes/empty_store.hpp - a store that has nothing and does nothing, for tests that override one call or two.
#pragma once

#include <memory>
#include <string_view>

#include "kube/object_store.hpp"

namespace signet::testing {

class EmptyStore : public kube::ObjectStore {
 public:
  using Json = nlohmann::json;
  base::Result<kube::List> ListAll(const kube::Resource&) override { return None(); }
  base::Result<Json> Get(const kube::Resource&, std::string_view, std::string_view) override { return None(); }
  base::Result<Json> Create(const kube::Resource&, std::string_view, const Json&) override { return None(); }
  base::Result<Json> Update(const kube::Resource&, std::string_view, std::string_view, const Json&) override {
    return None();
  }
  base::Result<Json> PatchStatus(const kube::Resource&, std::string_view, std::string_view, std::string_view,
                                 std::string_view, const Json&) override {
    return None();
  }
  base::Status Delete(const kube::Resource&, std::string_view, std::string_view, std::string_view) override {
    return None();
  }
  /// Never an event, never an end.
  std::unique_ptr<kube::Watch> StartWatch(const kube::Resource&, std::string_view, kube::WatchSink) override {
    return std::make_unique<kube::Watch>();
  }
  [[nodiscard]] bool TrustsRequesters() const override { return false; }

 private:
  static base::Error None() { return base::MakeError(base::Code::kUnimplemented, "not here"); }
};

}  // namespace signet::testing
