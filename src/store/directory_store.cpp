#include "store/directory_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/file_lock.hpp"
#include "base/unique_fd.hpp"
#include "obs/log.hpp"
#include "store/manifest_source.hpp"
#include "store/status_file.hpp"
#include "store/watch_hub.hpp"

namespace signet::store {
namespace {

using base::Code;
using base::MakeError;
using nlohmann::json;

constexpr const char* kLockFile = ".signet.lock";

/// An object of the folder, in force or hidden (its file is broken, or defines it twice).
struct Record {
  StatusRecord state;
  std::string status_file;
  json object;            ///< whole, as readers see it; null while hidden
  std::string manifest;   ///< the file that defines it
  bool confirmed = true;  ///< false: from an earlier reading of that file, which cannot be read as it is now
};

class DirectoryStoreImpl final : public DirectoryStore {
 public:
  DirectoryStoreImpl(Options options, const base::Clock& clock, base::UniqueFd lock)
      : options_(std::move(options)),
        clock_(clock),
        lock_(std::move(lock)),
        source_(options_.folder, DefineObjects(options_.resources), options_.limits) {}
  ~DirectoryStoreImpl() override;

  base::Status Start();

  base::Result<json> Get(const kube::Resource& resource, std::string_view ns, std::string_view name) override;
  base::Result<kube::List> ListAll(const kube::Resource& resource) override;
  base::Result<json> Create(const kube::Resource& resource, std::string_view ns, const json& object) override;
  base::Result<json> Update(const kube::Resource& resource, std::string_view ns, std::string_view name,
                            const json& object) override;
  base::Result<json> PatchStatus(const kube::Resource& resource, std::string_view ns, std::string_view name,
                                 std::string_view uid, std::string_view resource_version, const json& status) override;
  base::Status Delete(const kube::Resource& resource, std::string_view ns, std::string_view name,
                      std::string_view uid) override;
  std::unique_ptr<kube::Watch> StartWatch(const kube::Resource& resource, std::string_view resource_version,
                                          kube::WatchSink sink) override;
  [[nodiscard]] bool TrustsRequesters() const override { return true; }
  [[nodiscard]] std::vector<Problem> Problems() const override;
  bool Refresh() override;

 private:
  struct Wanted {
    const DefinedObject* object;
    std::string file;
  };
  using WantedMap = std::map<ObjectKey, Wanted>;
  struct Pending {
    kube::Resource resource;
    std::uint64_t version;
    kube::WatchEvent event;
  };

  // Every method below runs with mutex_ held.
  base::Status LoadStatusFiles();
  void RetryCorruptStatusFiles();
  std::set<std::string> Clashing(std::vector<Problem>& problems) const;
  WantedMap Choose(std::vector<Problem>& problems) const;
  void Apply();
  void Admit(const ObjectKey& key, const Wanted& wanted);
  void Withdraw(const WantedMap& wanted);
  void Retire(std::vector<StatusRecord> gone, const std::string& status_file);
  void WriteDirty();
  base::Status WriteStatusFile(const std::string& file, bool durable);
  void Report(std::vector<Problem> problems);
  [[nodiscard]] const kube::Resource* ResourceOf(const ObjectKey& key) const;
  [[nodiscard]] ObjectKey KeyOf(const kube::Resource& resource, std::string_view ns, std::string_view name) const;
  [[nodiscard]] base::Result<Record*> FindVisible(const kube::Resource& resource, std::string_view ns,
                                                  std::string_view name);
  void Compose(Record& record, json manifest);
  /// Events wait for Publish, so that nobody acts on a uid that is not yet written down.
  void Emit(kube::WatchEvent::Type type, const Record& record);
  void Publish();
  bool LookLocked();

  void Run();

  const Options options_;
  const base::Clock& clock_;
  const base::UniqueFd lock_;

  mutable std::mutex mutex_;
  std::condition_variable stop_;
  ManifestSource source_;  ///< guarded by mutex_, as all below
  std::map<ObjectKey, Record> records_;
  std::set<std::string> dirty_;                 ///< status files to be written
  std::map<std::string, std::string> corrupt_;  ///< status file to what is wrong with it
  std::vector<Problem> problems_;
  std::vector<Pending> pending_;
  std::string write_error_;  ///< the last one logged
  std::uint64_t version_ = 0;
  std::string folder_error_;  ///< why the last look failed; empty: it did not
  bool stopping_ = false;
  std::unique_ptr<WatchHub> hub_;
  std::thread thread_;
};

DirectoryStoreImpl::~DirectoryStoreImpl() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (thread_.joinable()) thread_.join();
}

base::Status DirectoryStoreImpl::Start() {
  {
    const std::lock_guard lock(mutex_);
    TRY_VOID(LoadStatusFiles());
  }
  hub_ = std::make_unique<WatchHub>(version_);
  // Before anything is served: what is being written is left to settle.
  for (int look = 0; look < 40 && !Refresh(); ++look) std::this_thread::sleep_for(kSettleTime);
  {
    const std::lock_guard lock(mutex_);
    if (!folder_error_.empty()) return MakeError(Code::kFailedPrecondition, "StoreNotFound", folder_error_);
  }
  thread_ = std::thread([this] { Run(); });
  return {};
}

base::Status DirectoryStoreImpl::LoadStatusFiles() {
  TRY(const auto names, ListStatusFiles(options_.folder));
  for (const std::string& name : names) {
    auto states = ReadStatusFile(options_.folder, name);
    if (!states) {
      corrupt_[name] = base::Describe(states.error());
      continue;
    }
    for (StatusRecord& state : *states) {
      version_ = std::max(version_, state.resource_version);
      const ObjectKey key = state.key;
      records_[key] = Record{std::move(state), name, nullptr, {}};
    }
  }
  return {};
}

void DirectoryStoreImpl::RetryCorruptStatusFiles() {
  for (auto it = corrupt_.begin(); it != corrupt_.end();) {
    std::error_code error;
    const bool exists = std::filesystem::exists(std::filesystem::symlink_status(options_.folder / it->first, error));
    auto states = exists ? ReadStatusFile(options_.folder, it->first) : std::vector<StatusRecord>();
    if (!states) {
      it->second = base::Describe(states.error());
      ++it;
      continue;
    }
    for (StatusRecord& state : *states) {
      version_ = std::max(version_, state.resource_version);
      const ObjectKey key = state.key;
      records_.try_emplace(key, Record{std::move(state), it->first, nullptr, {}});
    }
    it = corrupt_.erase(it);
  }
}

const kube::Resource* DirectoryStoreImpl::ResourceOf(const ObjectKey& key) const {
  for (const kube::Resource& resource : options_.resources) {
    if (resource.kind == key.kind && KeyOf(resource, key.ns, key.name) == key) return &resource;
  }
  return nullptr;
}

ObjectKey DirectoryStoreImpl::KeyOf(const kube::Resource& resource, std::string_view ns, std::string_view name) const {
  return {resource.group.empty() ? resource.version : resource.group + "/" + resource.version, resource.kind,
          resource.namespaced ? std::string(ns) : std::string(), std::string(name)};
}

void DirectoryStoreImpl::Compose(Record& record, json manifest) {
  json& metadata = manifest["metadata"];
  metadata["uid"] = record.state.uid;
  metadata["generation"] = record.state.generation;
  metadata["resourceVersion"] = std::to_string(record.state.resource_version);
  metadata["creationTimestamp"] = record.state.created;
  if (!record.state.status.is_null()) manifest["status"] = record.state.status;
  record.object = std::move(manifest);
}

void DirectoryStoreImpl::Emit(kube::WatchEvent::Type type, const Record& record) {
  const kube::Resource* resource = ResourceOf(record.state.key);
  if (resource != nullptr) pending_.push_back({*resource, record.state.resource_version, {type, record.object}});
}

void DirectoryStoreImpl::Publish() {
  for (Pending& pending : pending_) hub_->Publish(pending.resource, pending.version, std::move(pending.event));
  pending_.clear();
}

// ---- from files to objects
/// Status files that more than one manifest would write: a.yaml beside a.json.
std::set<std::string> DirectoryStoreImpl::Clashing(std::vector<Problem>& problems) const {
  std::map<std::string, std::vector<std::string>> by_status;
  for (const auto& [file, source] : source_.sources()) {
    if (source.missed == 0) by_status[StatusFileName(file)].push_back(file);
  }
  std::set<std::string> clashing;
  for (const auto& [status, files] : by_status) {
    if (files.size() < 2) continue;
    for (const std::string& file : files) {
      clashing.insert(file);
      problems.push_back({file, fmt::format("{}: shares {} with {}: rename one of them", file, status,
                                            file == files[0] ? files[1] : files[0])});
    }
  }
  return clashing;
}

DirectoryStoreImpl::WantedMap DirectoryStoreImpl::Choose(std::vector<Problem>& problems) const {
  const std::set<std::string> clashing = Clashing(problems);
  std::map<ObjectKey, std::vector<Wanted>> defined;
  for (const auto& [file, source] : source_.sources()) {
    problems.insert(problems.end(), source.problems.begin(), source.problems.end());
    if (clashing.contains(file)) continue;
    const auto corrupt = corrupt_.find(StatusFileName(file));
    if (corrupt != corrupt_.end()) {
      problems.push_back({file, fmt::format("{}: not used: {}", file, corrupt->second)});
      continue;
    }
    for (const DefinedObject& object : source.objects) defined[object.key].push_back({&object, file});
  }
  WantedMap wanted;
  for (auto& [key, places] : defined) {
    const auto vanished = [&](const Wanted& place) { return source_.sources().at(place.file).missed > 0; };
    if (places.size() > 1) std::erase_if(places, vanished);  // it was renamed
    const auto current = [](const Wanted& place) { return place.object->current; };
    if (std::any_of(places.begin(), places.end(), current)) std::erase_if(places, std::not_fn(current));
    if (places.size() == 1) wanted.emplace(key, places.front());
    if (places.size() < 2) continue;
    std::set<std::string> files;
    for (const Wanted& place : places) files.insert(place.file);
    for (const std::string& file : files) {
      problems.push_back({file, fmt::format("{}: {} {} is defined {}: none of them is used", file, key.kind, key.name,
                                            files.size() == 1 ? "twice in this file"
                                                              : fmt::format("in {}", fmt::join(files, " and in ")))});
    }
  }
  return wanted;
}

void DirectoryStoreImpl::Admit(const ObjectKey& key, const Wanted& wanted) {
  const json& manifest = wanted.object->manifest;
  const std::string status_file = StatusFileName(wanted.file);
  const std::string hash = SpecHash(manifest);
  auto [it, fresh] = records_.try_emplace(key);
  Record& record = it->second;
  if (fresh) {
    record.state = {key, NewUid(), 1, 0, base::FormatTimeSeconds(clock_.Now()), hash, nullptr};
  }
  record.confirmed = wanted.object->current && !source_.sources().at(wanted.file).unread;
  const bool hidden = record.object.is_null();
  const bool edited = record.state.spec_hash != hash;
  const bool moved = record.status_file != status_file;
  if (!fresh && !hidden && !edited && !moved) {
    json same = manifest;
    json before = record.object;
    for (const char* ours : {"uid", "generation", "resourceVersion", "creationTimestamp"})
      before["metadata"].erase(ours);
    before.erase("status");
    if (before == same) return;
  }
  if (edited) {
    record.state.spec_hash = hash;
    ++record.state.generation;
  }
  if (moved && !record.status_file.empty()) dirty_.insert(record.status_file);
  record.status_file = status_file;
  record.manifest = wanted.file;
  record.state.resource_version = ++version_;
  if (fresh || edited || moved) dirty_.insert(status_file);
  Compose(record, manifest);
  Emit(hidden ? kube::WatchEvent::Type::kAdded : kube::WatchEvent::Type::kModified, record);
}

void DirectoryStoreImpl::Withdraw(const WantedMap& wanted) {
  std::set<std::string> retained;  // status files of manifests that are there, but not fit to be used
  std::set<std::string> there;
  std::vector<Problem> ignored;
  const std::set<std::string> clashing = Clashing(ignored);
  std::map<ObjectKey, bool> defined;
  for (const auto& [file, source] : source_.sources()) {
    there.insert(StatusFileName(file));
    if (source.broken || !source.problems.empty() || clashing.contains(file) || source.missed > 0) {
      retained.insert(StatusFileName(file));
    }
    for (const DefinedObject& object : source.objects) defined[object.key] = true;
  }
  std::map<std::string, std::vector<StatusRecord>> gone;
  for (auto it = records_.begin(); it != records_.end();) {
    Record& record = it->second;
    if (wanted.contains(it->first)) {
      ++it;
      continue;
    }
    if (!record.object.is_null()) {
      record.state.resource_version = ++version_;
      record.object["metadata"]["resourceVersion"] = std::to_string(version_);
      Emit(kube::WatchEvent::Type::kDeleted, record);
      record.object = nullptr;
      dirty_.insert(record.status_file);
    }
    if (retained.contains(record.status_file) || defined.contains(it->first)) {
      ++it;
      continue;
    }
    gone[record.status_file].push_back(std::move(record.state));
    it = records_.erase(it);
  }
  for (auto& [file, states] : gone) {
    dirty_.insert(file);
    Retire(std::move(states), file);
  }
}

void DirectoryStoreImpl::Retire(std::vector<StatusRecord> gone, const std::string& status_file) {
  std::erase_if(gone, [](const StatusRecord& state) { return state.status.is_null() || state.status.empty(); });
  if (gone.empty()) return;
  const std::string name = RetiredFileName(status_file, base::FormatTimeSeconds(clock_.Now()), gone.front().uid);
  const auto written = WriteFileAtomically(options_.folder, name, FormatStatusFile(gone), true);
  if (!written)
    obs::Err("status of deleted objects not kept", {{"file", name}, {"error", base::Describe(written.error())}});
}

base::Status DirectoryStoreImpl::WriteStatusFile(const std::string& file, bool durable) {
  std::vector<StatusRecord> states;
  for (const auto& [key, record] : records_) {
    if (record.status_file == file) states.push_back(record.state);
  }
  if (!states.empty()) return WriteFileAtomically(options_.folder, file, FormatStatusFile(states), durable);
  if (::unlink((options_.folder / file).c_str()) != 0 && errno != ENOENT) {
    return base::ErrnoError(Code::kUnavailable, "cannot remove " + file, errno);
  }
  return {};
}

/// A uid that is lost with the machine's power was in no signature yet: no fsync here, PatchStatus does it.
void DirectoryStoreImpl::WriteDirty() {
  std::string failure;
  for (auto it = dirty_.begin(); it != dirty_.end();) {
    const auto written = WriteStatusFile(*it, false);
    if (!written) failure = base::Describe(written.error());
    it = written ? dirty_.erase(it) : std::next(it);
  }
  if (!failure.empty() && failure != write_error_) obs::Err("status file not written", {{"error", failure}});
  write_error_ = std::move(failure);
}

void DirectoryStoreImpl::Apply() {
  if (!corrupt_.empty()) RetryCorruptStatusFiles();
  std::vector<Problem> problems;
  const WantedMap wanted = Choose(problems);
  Withdraw(wanted);
  for (const auto& [key, place] : wanted) Admit(key, place);
  WriteDirty();
  Publish();
  Report(std::move(problems));
}

void DirectoryStoreImpl::Report(std::vector<Problem> problems) {
  const auto order = [](const Problem& a, const Problem& b) {
    return std::tie(a.file, a.message) < std::tie(b.file, b.message);
  };
  std::sort(problems.begin(), problems.end(), order);
  problems.erase(std::unique(problems.begin(), problems.end()), problems.end());
  for (const Problem& problem : problems) {
    if (!std::binary_search(problems_.begin(), problems_.end(), problem, order)) {
      obs::Warn("manifest not used", {{"folder", options_.folder.string()}, {"problem", problem.message}});
    }
  }
  for (const Problem& problem : problems_) {
    if (!std::binary_search(problems.begin(), problems.end(), problem, order)) {
      obs::Info("manifest problem solved", {{"problem", problem.message}});
    }
  }
  problems_ = std::move(problems);
}

bool DirectoryStoreImpl::LookLocked() {
  const auto again = source_.Look(clock_.Now());
  if (!again) {
    const std::string error = base::Describe(again.error());
    if (error != folder_error_) obs::Err("folder cannot be read", {{"error", error}});
    folder_error_ = error;
    return false;
  }
  if (!folder_error_.empty()) obs::Info("folder can be read again", {{"folder", options_.folder.string()}});
  folder_error_.clear();
  if (source_.TakeChanged() || !corrupt_.empty() || !dirty_.empty()) Apply();
  return !*again;
}

bool DirectoryStoreImpl::Refresh() {
  const std::lock_guard lock(mutex_);
  return LookLocked();
}

void DirectoryStoreImpl::Run() {
  auto next_bookmark = clock_.Steady() + options_.bookmark;
  std::unique_lock lock(mutex_);
  std::chrono::steady_clock::duration wait = options_.poll;
  for (;;) {
    if (stop_.wait_for(lock, wait, [this] { return stopping_; })) return;
    const auto start = clock_.Steady();
    const bool settled = LookLocked();
    const auto end = clock_.Steady();
    // A large folder costs at most a twentieth of one core.
    wait = std::max<std::chrono::steady_clock::duration>(options_.poll, (end - start) * 20);
    if (!settled && folder_error_.empty()) wait = std::min<std::chrono::steady_clock::duration>(wait, kSettleTime);
    if (folder_error_.empty() && end >= next_bookmark) {
      hub_->Bookmark();
      next_bookmark = end + options_.bookmark;
    }
  }
}

// ---- ObjectStore --------------------------------------------------------------------------

base::Result<Record*> DirectoryStoreImpl::FindVisible(const kube::Resource& resource, std::string_view ns,
                                                      std::string_view name) {
  if (!folder_error_.empty()) return MakeError(Code::kUnavailable, "StoreUnavailable", folder_error_);
  const auto found = records_.find(KeyOf(resource, ns, name));
  if (found == records_.end() || found->second.object.is_null()) {
    return MakeError(Code::kNotFound, "NotFound",
                     fmt::format("no {} {} in {}", resource.kind, name, options_.folder.string()));
  }
  return &found->second;
}

base::Result<json> DirectoryStoreImpl::Get(const kube::Resource& resource, std::string_view ns, std::string_view name) {
  const std::lock_guard lock(mutex_);
  TRY(const Record* record, FindVisible(resource, ns, name));
  if (record->confirmed) return record->object;
  return MakeError(Code::kUnavailable, "StoreUnavailable", record->manifest + " cannot be read as it is: repair it");
}

base::Result<kube::List> DirectoryStoreImpl::ListAll(const kube::Resource& resource) {
  const std::lock_guard lock(mutex_);
  if (!folder_error_.empty()) return MakeError(Code::kUnavailable, "StoreUnavailable", folder_error_);
  kube::List list;
  list.resource_version = std::to_string(version_);
  for (const auto& [key, record] : records_) {
    if (!record.object.is_null() && KeyOf(resource, key.ns, key.name) == key) list.items.push_back(record.object);
  }
  return list;
}

base::Result<json> DirectoryStoreImpl::Create(const kube::Resource& resource, std::string_view /*ns*/,
                                              const json& /*object*/) {
  return MakeError(Code::kUnimplemented,
                   fmt::format("objects come into this store as files: no {} is created here", resource.kind));
}

base::Result<json> DirectoryStoreImpl::Update(const kube::Resource& resource, std::string_view /*ns*/,
                                              std::string_view /*name*/, const json& /*object*/) {
  return MakeError(Code::kUnimplemented,
                   fmt::format("objects change in this store by their files: no {} is updated here", resource.kind));
}

base::Result<json> DirectoryStoreImpl::PatchStatus(const kube::Resource& resource, std::string_view ns,
                                                   std::string_view name, std::string_view uid,
                                                   std::string_view resource_version, const json& status) {
  const std::lock_guard lock(mutex_);
  TRY(Record * record, FindVisible(resource, ns, name));
  StatusRecord& state = record->state;
  if (state.uid != uid || std::to_string(state.resource_version) != resource_version) {
    return MakeError(Code::kAborted, "Conflict", fmt::format("{} {} has changed: read it again", resource.kind, name));
  }
  json merged = state.status.is_null() ? json::object() : state.status;
  merged.merge_patch(status);
  if (merged == state.status) return record->object;
  StatusRecord before = state;
  state.status = std::move(merged);
  state.resource_version = ++version_;
  const auto written = WriteStatusFile(record->status_file, true);
  if (!written) {
    state = std::move(before);
    dirty_.insert(record->status_file);  // an error after the rename must not leave what we disown
    return MakeError(Code::kUnavailable, "StoreUnavailable", base::Describe(written.error()));
  }
  dirty_.erase(record->status_file);
  json manifest = std::move(record->object);
  Compose(*record, std::move(manifest));
  Emit(kube::WatchEvent::Type::kModified, *record);
  Publish();
  return record->object;
}

base::Status DirectoryStoreImpl::Delete(const kube::Resource& resource, std::string_view ns, std::string_view name,
                                        std::string_view uid) {
  const std::lock_guard lock(mutex_);
  TRY(Record * record, FindVisible(resource, ns, name));
  if (!uid.empty() && record->state.uid != uid) {
    return MakeError(Code::kAborted, "Conflict", fmt::format("{} {} is another object now", resource.kind, name));
  }
  const std::string file = record->manifest;
  const auto source = source_.sources().find(file);
  if (source == source_.sources().end() || source->second.objects.size() != 1 || !source->second.problems.empty()) {
    return MakeError(Code::kUnimplemented,
                     fmt::format("{} holds more than {} {}: remove it there by hand", file, resource.kind, name));
  }
  if (::unlink((options_.folder / file).c_str()) != 0 && errno != ENOENT) {
    return base::ErrnoError(Code::kUnavailable, "cannot remove " + file, errno);
  }
  source_.Forget(file);
  record->state.resource_version = ++version_;
  record->object["metadata"]["resourceVersion"] = std::to_string(version_);
  Emit(kube::WatchEvent::Type::kDeleted, *record);
  dirty_.insert(record->status_file);
  records_.erase(ObjectKey(record->state.key));
  WriteDirty();
  Publish();
  return {};
}

std::unique_ptr<kube::Watch> DirectoryStoreImpl::StartWatch(const kube::Resource& resource,
                                                            std::string_view resource_version, kube::WatchSink sink) {
  std::uint64_t version = 0;
  const bool number = !resource_version.empty() && resource_version.size() < 20 &&
                      resource_version.find_first_not_of("0123456789") == std::string_view::npos;
  if (number) version = std::stoull(std::string(resource_version));
  return hub_->Start(resource, number ? version : UINT64_MAX, std::move(sink));
}

std::vector<Problem> DirectoryStoreImpl::Problems() const {
  const std::lock_guard lock(mutex_);
  return problems_;
}

base::Result<base::UniqueFd> Lock(const std::filesystem::path& folder) {
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) {
    return MakeError(
        Code::kFailedPrecondition, "StoreNotFound",
        base::ErrnoError(Code::kNotFound, fmt::format("no store folder {}", folder.string()), errno).message);
  }
  if (!S_ISDIR(info.st_mode)) {
    return MakeError(Code::kFailedPrecondition, "StoreNotFound", fmt::format("{} is not a folder", folder.string()));
  }
  auto fd = base::OpenLockFile(folder / kLockFile);
  if (!fd) {
    const auto error = base::ErrnoError(Code::kFailedPrecondition,
                                        fmt::format("cannot write to {}; status is kept there", folder.string()),
                                        static_cast<int>(fd.error().native.number));
    return base::Error{error.code, "StoreNotWritable", error.message, error.native};
  }
  TRY(const auto state, base::TryLock(fd->get()));
  if (state != base::LockState::kTaken) {
    return MakeError(Code::kFailedPrecondition, "StoreLocked",
                     fmt::format("another process uses {}; stop it first", folder.string()));
  }
  if ((info.st_mode & S_IWOTH) != 0) {
    obs::Warn("everyone on this machine may write to the store folder and is trusted by it",
              {{"folder", folder.string()}});
  }
  return fd;
}

}  // namespace

base::Result<std::unique_ptr<DirectoryStore>> DirectoryStore::Open(Options options, const base::Clock& clock) {
  using std::chrono::milliseconds;
  if (options.poll < milliseconds(10) || options.poll > milliseconds(60000)) {
    return MakeError(Code::kInvalidArgument, "poll must be between 10 ms and 60 s");
  }
  TRY(base::UniqueFd lock, Lock(options.folder));
  std::error_code error;
  options.folder = std::filesystem::canonical(options.folder, error);
  if (error) return base::ErrnoError(Code::kUnavailable, "cannot resolve the store folder", error.value());
  auto store = std::make_unique<DirectoryStoreImpl>(std::move(options), clock, std::move(lock));
  TRY_VOID(store->Start());
  return std::unique_ptr<DirectoryStore>(std::move(store));
}

}  // namespace signet::store
