#include "apiserver/spdy.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>

namespace fairway::apiserver {
namespace {

std::string be32(std::uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

// A client of the protocol, written from the specification.
struct Client {
  Client() {
    const std::string& d = spdy_dictionary();
    deflateInit(&out, Z_BEST_COMPRESSION);
    deflateSetDictionary(&out, reinterpret_cast<const Bytef*>(d.data()), static_cast<uInt>(d.size()));
  }
  ~Client() { deflateEnd(&out); }
  std::string block(const SpdyHeaders& headers) {
    std::string plain = be32(static_cast<std::uint32_t>(headers.size()));
    for (const auto& [name, value] : headers)
      plain += be32(static_cast<std::uint32_t>(name.size())) + name + be32(static_cast<std::uint32_t>(value.size())) + value;
    return deflated(plain);
  }
  std::string deflated(const std::string& plain) {
    std::string packed(plain.size() + 4096, '\0');
    out.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
    out.avail_in = static_cast<uInt>(plain.size());
    out.next_out = reinterpret_cast<Bytef*>(packed.data());
    out.avail_out = static_cast<uInt>(packed.size());
    deflate(&out, Z_SYNC_FLUSH);
    packed.resize(packed.size() - out.avail_out);
    return packed;
  }
  static std::string control(std::uint16_t type, std::uint8_t flags, const std::string& payload) {
    return be32(0x80030000u | type) + be32(static_cast<std::uint32_t>(flags) << 24 | static_cast<std::uint32_t>(payload.size())) + payload;
  }
  std::string syn(std::uint32_t stream, const SpdyHeaders& headers, bool fin = false) {
    return control(1, fin, be32(stream) + be32(0) + std::string(2, '\0') + block(headers));
  }
  static std::string data(std::uint32_t stream, const std::string& bytes, bool fin = false) {
    return be32(stream) + be32((fin ? 1u << 24 : 0) | static_cast<std::uint32_t>(bytes.size())) + bytes;
  }
  z_stream out{};
};

struct Server {
  SpdyServer spdy{{.on_stream =
                       [this](std::uint32_t stream, const SpdyHeaders& headers, bool fin) {
                         log += "stream " + std::to_string(stream) + (fin ? " fin" : "");
                         for (const auto& [name, value] : headers) log += " " + name + "=" + value;
                         log += "\n";
                       },
                   .on_data =
                       [this](std::uint32_t stream, std::string_view data, bool fin) {
                         if (stream != last_stream || ended) log += "data " + std::to_string(stream) + " ";
                         last_stream = stream;
                         log += data;
                         ended = fin;
                         if (fin) log += " fin\n";
                       },
                   .on_reset = [this](std::uint32_t stream) { log += "reset " + std::to_string(stream) + "\n"; },
                   .send = [this](std::string bytes) { sent += bytes; }}};
  std::string log, sent;
  std::uint32_t last_stream = 0;
  bool ended = false;
};

TEST(Spdy, DictionaryIsThePublishedOne) {
  const std::string& d = spdy_dictionary();
  EXPECT_EQ(d.size(), 1423u);
  EXPECT_EQ(adler32(adler32(0, nullptr, 0), reinterpret_cast<const Bytef*>(d.data()), static_cast<uInt>(d.size())), 0xe3c6a7c2u);
}

TEST(Spdy, UnderstandsTheStreamHoweverItIsCut) {
  Client client;
  const std::string first = client.syn(1, {{"streamtype", "error"}, {"port", "80"}, {"requestid", "0"}}, true);
  const std::string second = client.syn(3, {{"streamtype", "data"}, {"port", "80"}, {"requestid", "0"}});  // the same zlib stream
  const std::string bytes = first + second + Client::control(4, 0, be32(0)) + Client::data(3, "hello") +
                            Client::control(9, 0, be32(3) + be32(1000)) + Client::data(3, " there", true) +
                            Client::control(3, 0, be32(3) + be32(5)) + Client::control(7, 0, be32(0) + be32(0)) + Client::data(5, "", true);
  const std::string expected =
      "stream 1 fin streamtype=error port=80 requestid=0\nstream 3 streamtype=data port=80 requestid=0\n"
      "data 3 hello there fin\nreset 3\ndata 5  fin\n";
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    Server server;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t part = round == 0 ? bytes.size() : round == 1 ? 1 : 1 + random() % 40;
      ASSERT_TRUE(server.spdy.feed(std::string_view(bytes).substr(at, part)).ok());
      at += part;
    }
    EXPECT_EQ(server.log, expected) << "round " << round;
  }
}

TEST(Spdy, EchoesPingsAndRepliesToStreams) {
  Client client;
  Server server;
  const std::string ping = Client::control(6, 0, be32(77));
  ASSERT_TRUE(server.spdy.feed(ping).ok());
  EXPECT_EQ(server.sent, ping);
  server.sent.clear();
  server.spdy.reply(1);
  server.spdy.reply(3);
  ASSERT_GT(server.sent.size(), 20u);
  EXPECT_EQ(server.sent.substr(0, 4), be32(0x80030002));
  EXPECT_EQ(server.sent.substr(8, 4), be32(1));
  // The compressed empty block names the dictionary by its sum.
  EXPECT_EQ(server.sent.substr(14, 4), be32(0xe3c6a7c2));
  server.sent.clear();
  server.spdy.data(3, "abc", true);
  EXPECT_EQ(server.sent, Client::data(3, "abc", true));
}

TEST(Spdy, RefusesWhatIsBroken) {
  Client client;
  const std::string oversize = be32(0x80030001) + be32(0x00ffffff);
  const std::string bomb =
      Client::control(1, 0, be32(1) + be32(0) + "\0\0" + client.deflated(std::string(10 << 20, 'x')).substr(0, 60'000));
  for (const std::string& bytes :
       {be32(0x80020001) + be32(12), oversize, Client::control(1, 0, "short"), Client::control(3, 0, "abc"),
        Client::control(1, 0, be32(1) + be32(0) + std::string("\0\0", 2) + "no zlib at all"), bomb, Client::control(6, 0, "toolong")}) {
    Server server;
    EXPECT_FALSE(server.spdy.feed(bytes).ok());
    EXPECT_FALSE(server.spdy.feed(Client::control(6, 0, be32(1))).ok()) << "dead for good";
    EXPECT_EQ(server.sent, "");
  }
  // A block that claims more than it holds.
  Client liar;
  Server server;
  EXPECT_FALSE(
      server.spdy.feed(Client::control(1, 0, be32(1) + be32(0) + std::string("\0\0", 2) + liar.deflated(be32(1) + be32(0xffffffff) + "x")))
          .ok());
}

}  // namespace
}  // namespace fairway::apiserver
