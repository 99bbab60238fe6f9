// What a worker reads from the process that parses requests, and the other way round; and the PIN's state file.
#include "fuzz/fuzz.hpp"
#include "token/worker_messages.hpp"

using namespace signet;

namespace {

/// What was read whole is written as it came, up to what comes after it.
template <class Message>
void WritesWhatItRead(Message (*read)(token::FrameReader&), base::ByteView body) {
  token::FrameReader reader(body);
  const Message message = read(reader);
  HOLDS(reader.rest().size() <= body.size());
  if (!reader.ok()) return;
  token::FrameWriter writer;
  Write(writer, message);
  token::FrameReader again(writer.bytes());
  token::FrameWriter twice;
  Write(twice, read(again));
  HOLDS(again.ok() && again.rest().empty() && twice.bytes() == writer.bytes());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const base::ByteView body(data, size);
  WritesWhatItRead(token::ReadConfigure, body);
  WritesWhatItRead(token::ReadStatus, body);
  WritesWhatItRead(token::ReadPinRead, body);
  WritesWhatItRead(token::ReadLoginResult, body);
  WritesWhatItRead(token::ReadKeyIdentity, body);
  token::FrameReader reader(body);
  if (const auto key = token::ReadProvenKey(reader)) {
    token::FrameWriter writer;
    Write(writer, *key);
    token::FrameReader again(writer.bytes());
    const auto same = token::ReadProvenKey(again);
    HOLDS(same.has_value() && same->record.public_key.der() == key->record.public_key.der());
  }
  token::FrameReader other(body);
  if (const auto proof = token::ReadKeyProof(other)) {
    token::FrameWriter writer;
    Write(writer, *proof);
    token::FrameReader again(writer.bytes());
    const auto same = token::ReadKeyProof(again);
    HOLDS(same.has_value() && same->challenge == proof->challenge);
  }
  if (const auto guard = token::PinGuard::Parse(std::string(fuzz::AsInput(data, size)), {}); guard && size > 0) {
    const auto text = guard->Format();
    const auto again = token::PinGuard::Parse(text, {});
    HOLDS(again.has_value() && again->Format() == text);
  }
  return 0;
}
