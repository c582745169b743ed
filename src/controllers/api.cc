#include "controllers/api.h"

namespace fairway::controllers {

void ApiCall::await_suspend(std::coroutine_handle<> frame) {
  promise_ = std::make_shared<Promise<Result<Json>>>();
  promise_->frame = frame;
  std::weak_ptr<Promise<Result<Json>>> weak = promise_;
  call_ = start_([&loop = loop_, weak](Result<Json> result) { fulfil<Result<Json>>(loop, weak, std::move(result)); });
}

Result<Json> ApiCall::await_resume() {
  call_.reset();
  return std::move(*promise_->value);
}

ApiCall Api::get(ResourceRef ref) {
  return {loop_, [this, ref = std::move(ref)](k8s::Done done) { return client_.get(ref, std::move(done)); }};
}

ApiCall Api::list(ResourceRef ref) {
  return {loop_, [this, ref = std::move(ref)](k8s::Done done) { return client_.list(ref, {}, std::move(done)); }};
}

ApiCall Api::create(ResourceRef ref, Json object) {
  auto held = std::make_shared<Json>(std::move(object));
  return {loop_, [this, ref = std::move(ref), held](k8s::Done done) { return client_.create(ref, std::move(*held), std::move(done)); }};
}

ApiCall Api::update(ResourceRef ref, Json object) {
  auto held = std::make_shared<Json>(std::move(object));
  return {loop_, [this, ref = std::move(ref), held](k8s::Done done) { return client_.update(ref, std::move(*held), std::move(done)); }};
}

ApiCall Api::patch(ResourceRef ref, k8s::PatchType type, Json patch) {
  auto held = std::make_shared<Json>(std::move(patch));
  return {loop_,
          [this, ref = std::move(ref), type, held](k8s::Done done) { return client_.patch(ref, type, std::move(*held), std::move(done)); }};
}

ApiCall Api::remove(ResourceRef ref, k8s::DeleteOptions options) {
  return {loop_, [this, ref = std::move(ref), options = std::move(options)](k8s::Done done) {
            return client_.remove(ref, options, std::move(done));
          }};
}

Task<Status> Api::ensure_removed(ResourceRef ref, k8s::DeleteOptions options) {
  const bool by_uid = !options.precondition_uid.empty();
  auto result = co_await remove(std::move(ref), std::move(options));
  if (result.ok() || result.error().code == Code::kNotFound) co_return Status{};
  if (by_uid && result.error().code == Code::kConflict) co_return Status{};
  co_return std::move(result).error();
}

Task<Status> Api::ensure_removed(ResourceRef ref) { return ensure_removed(std::move(ref), k8s::DeleteOptions()); }

Task<Status> Api::ensure_created(ResourceRef ref, Json object) {
  auto result = co_await create(std::move(ref), std::move(object));
  if (result.ok() || result.error().code == Code::kAlreadyExists) co_return Status{};
  co_return std::move(result).error();
}

}  // namespace fairway::controllers
