#include "apiserver/store.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace fairway::apiserver {
namespace {

ObjectPtr make_object(Json value, std::uint64_t revision) {
  auto object = std::make_shared<StoredObject>();
  set_at(value.get_object(), "metadata.resourceVersion", boost::json::string(std::to_string(revision)));
  object->ns = text_at(value, "metadata.namespace");
  object->name = text_at(value, "metadata.name");
  object->revision = revision;
  object->text = boost::json::serialize(value);
  object->value = std::move(value);
  return object;
}

void bind_text(sqlite3_stmt* statement, int at, std::string_view text) {
  sqlite3_bind_text(statement, at, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

std::string column_text(sqlite3_stmt* statement, int at) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, at));
  return text == nullptr ? std::string() : std::string(text, static_cast<std::size_t>(sqlite3_column_bytes(statement, at)));
}

// EXCLUSIVE: one server a database, and no shared-memory file. NORMAL: safe against kill -9; a power cut may lose the
// last writes but never corrupts (sqlite.org/pragma.html#pragma_synchronous), which is right for a lab.
constexpr const char* kSetup = R"(
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS objects (collection TEXT, ns TEXT, name TEXT, revision INTEGER NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (collection, ns, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('revision', 1);
)";

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const std::string& path, std::size_t history) {
  std::unique_ptr<Store> store(new Store(history));
  if (!path.empty()) {
    FW_TRY(store->open_database(path));
    FW_TRY(store->load());
  }
  store->forget_history();
  return store;
}

Store::~Store() {
  for (sqlite3_stmt* statement : {upsert_, erase_, revision_statement_}) sqlite3_finalize(statement);
  sqlite3_close(db_);
}

Status Store::open_database(const std::string& path) {
  auto failed = [&](std::string_view what) {
    return make_error(Code::kIo, fmt::format("open the API server's database {}: {}: {}", path, what, sqlite3_errmsg(db_)));
  };
  if (sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr) != SQLITE_OK) return failed("open");
  sqlite3_busy_timeout(db_, 2000);
  if (sqlite3_exec(db_, kSetup, nullptr, nullptr, nullptr) != SQLITE_OK) return failed("set up");
  const std::pair<const char*, sqlite3_stmt**> statements[] = {
      {"INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3, ?4, ?5)", &upsert_},
      {"DELETE FROM objects WHERE collection = ?1 AND ns = ?2 AND name = ?3", &erase_},
      {"UPDATE meta SET value = ?4 WHERE key = 'revision'", &revision_statement_}};
  for (const auto& [sql, statement] : statements) {
    if (sqlite3_prepare_v2(db_, sql, -1, statement, nullptr) != SQLITE_OK) return failed(sql);
  }
  return {};
}

Status Store::load() {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_, "SELECT collection, revision, body FROM objects", -1, &statement, nullptr) != SQLITE_OK) {
    return make_error(Code::kIo, fmt::format("read the API server's database: {}", sqlite3_errmsg(db_)));
  }
  std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> guard(statement, sqlite3_finalize);
  boost::json::parse_options options;
  options.max_depth = 256;
  int rc;
  while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
    boost::json::error_code error;
    Json value = boost::json::parse(column_text(statement, 2), error, {}, options);
    if (error || !value.is_object())
      return make_error(Code::kIo, fmt::format("read the API server's database: an object of {} is no JSON: {}", column_text(statement, 0),
                                               error.message()));
    ObjectPtr object = make_object(std::move(value), static_cast<std::uint64_t>(sqlite3_column_int64(statement, 1)));
    collection(column_text(statement, 0)).objects[{object->ns, object->name}] = object;
  }
  if (rc != SQLITE_DONE) return make_error(Code::kIo, fmt::format("read the API server's database: {}", sqlite3_errmsg(db_)));
  guard.reset();
  if (sqlite3_prepare_v2(db_, "SELECT value FROM meta WHERE key = 'revision'", -1, &statement, nullptr) != SQLITE_OK ||
      sqlite3_step(statement) != SQLITE_ROW) {
    sqlite3_finalize(statement);
    return make_error(Code::kIo, fmt::format("read the API server's database: no revision: {}", sqlite3_errmsg(db_)));
  }
  revision_ = static_cast<std::uint64_t>(sqlite3_column_int64(statement, 0));
  sqlite3_finalize(statement);
  return {};
}

Status Store::step(sqlite3_stmt* statement) {
  const int rc = sqlite3_step(statement);
  sqlite3_reset(statement);
  if (rc == SQLITE_DONE) return {};
  return make_error(Code::kIo, fmt::format("write to the API server's database: {}", sqlite3_errmsg(db_)));
}

// Object and revision in one transaction, so that a deletion's revision is not given twice after a restart.
Status Store::write(sqlite3_stmt* statement, std::string_view collection, std::string_view ns, std::string_view name,
                    std::uint64_t revision, const std::string* text) {
  if (db_ == nullptr) return {};
  bind_text(statement, 1, collection);
  bind_text(statement, 2, ns);
  bind_text(statement, 3, name);
  if (text != nullptr) {
    sqlite3_bind_int64(statement, 4, static_cast<sqlite3_int64>(revision));
    bind_text(statement, 5, *text);
  }
  sqlite3_bind_int64(revision_statement_, 4, static_cast<sqlite3_int64>(revision));
  auto failed = [&] { return make_error(Code::kIo, fmt::format("write to the API server's database: {}", sqlite3_errmsg(db_))); };
  if (sqlite3_exec(db_, "BEGIN", nullptr, nullptr, nullptr) != SQLITE_OK) return failed();
  Status done = step(statement);
  if (done.ok()) done = step(revision_statement_);
  if (done.ok() && sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) done = failed();
  if (!done.ok()) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  return done;
}

Store::Collection& Store::collection(std::string_view name) {
  auto at = collections_.find(name);
  if (at == collections_.end()) {
    at = collections_.emplace(std::string(name), Collection{}).first;
    at->second.forgotten = first_revision_;
  }
  return at->second;
}

ObjectPtr Store::get(std::string_view collection, std::string_view ns, std::string_view name) const {
  const Objects& all = objects(collection);
  auto at = all.find(Key(ns, name));
  return at == all.end() ? nullptr : at->second;
}

const Store::Objects& Store::objects(std::string_view collection) const {
  static const Objects kNone;
  auto at = collections_.find(collection);
  return at == collections_.end() ? kNone : at->second.objects;
}

Result<ObjectPtr> Store::put(std::string_view name, Json value) {
  ObjectPtr object = make_object(std::move(value), revision_ + 1);
  if (object->text.size() > kMaxObjectBytes)
    return make_error(Code::kExhausted, fmt::format("Request entity too large: limit is {}", kMaxObjectBytes));
  FW_TRY(write(upsert_, name, object->ns, object->name, object->revision, &object->text));
  revision_ = object->revision;
  Collection& into = collection(name);
  ObjectPtr& slot = into.objects[{object->ns, object->name}];
  ObjectPtr before = std::exchange(slot, object);
  publish(into, {before ? Change::kModified : Change::kAdded, std::string(name), object->revision, object, std::move(before)});
  return object;
}

Result<ObjectPtr> Store::remove(std::string_view name, std::string_view ns, std::string_view object_name) {
  ObjectPtr before = get(name, ns, object_name);
  if (!before) return make_error(Code::kNotFound, fmt::format("{} {}/{} is not in the store", name, ns, object_name));
  ObjectPtr last = make_object(before->value, revision_ + 1);
  FW_TRY(write(erase_, name, ns, object_name, last->revision, nullptr));
  revision_ = last->revision;
  Collection& from = collection(name);
  from.objects.erase({before->ns, before->name});
  publish(from, {Change::kDeleted, std::string(name), last->revision, last, std::move(before)});
  return last;
}

void Store::publish(Collection& collection, StoreEvent event) {
  auto shared = std::make_shared<const StoreEvent>(std::move(event));
  collection.history.push_back(shared);
  collection.history_bytes += shared->object->text.size();
  while (collection.history.size() > history_ || collection.history_bytes > kMaxHistoryBytes) {
    const EventPtr& oldest = collection.history.front();
    collection.forgotten = oldest->revision;
    collection.history_bytes -= oldest->object->text.size();
    collection.history.pop_front();
  }
  for (const auto& listener : listeners_) listener(shared);
}

bool Store::events_since(std::string_view name, std::uint64_t since, std::vector<EventPtr>& out) const {
  auto at = collections_.find(name);
  if (at == collections_.end()) return since >= first_revision_;
  const Collection& from = at->second;
  if (since < from.forgotten) return false;
  auto first =
      std::partition_point(from.history.begin(), from.history.end(), [&](const EventPtr& event) { return event->revision <= since; });
  out.assign(first, from.history.end());
  return true;
}

void Store::forget_history() {
  for (auto& [name, collection] : collections_) {
    collection.history.clear();
    collection.history_bytes = 0;
    collection.forgotten = revision_;
  }
  first_revision_ = revision_;
}

}  // namespace fairway::apiserver
