import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.BufferedOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads topics back with Kafka's own client, so that what the bridge wrote is judged by somebody else.
 *
 * One JSON object a line: topic, partition, offset, timestamp, key, headers, value, and java_partition, where the
 * Java client's default partitioner would have put the key. Committed records only, from the beginning.
 *
 * Without --until-count it ends at the end offsets found at the start. With it, it ends after that many records, or
 * when nothing has come for --idle-ms, and picks up topics that appear meanwhile. --limit-ms ends it in any case.
 *
 * Exit codes: 0 ended as asked, 1 failed (text that is not UTF-8, a header that is null or repeated, the broker),
 * 2 usage, 3 out of time. What was read until then has been printed.
 */
public final class Reader {
    private static final Duration POLL = Duration.ofMillis(100);
    /** How often topics that did not exist before are looked for. */
    private static final long DISCOVERY_MS = 500;

    private final Pattern topics;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final JsonGenerator out;
    private final Map<TopicPartition, Integer> partitions = new HashMap<>();

    private Reader(String bootstrap, Pattern topics) throws IOException {
        this.topics = topics;
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("isolation.level", "read_committed");
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        settings.put("max.poll.records", "10000");
        settings.put("fetch.max.wait.ms", "50");
        settings.put("default.api.timeout.ms", "60000");
        consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        out = new JsonFactory().createGenerator(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16));
        out.setRootValueSeparator(null);
    }

    public static void main(String[] args) throws IOException {
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) {
            options.put(args[i], args[i + 1]);
        }
        if (args.length % 2 != 0 || !options.containsKey("--bootstrap") || !options.containsKey("--topics")) {
            System.err.println("usage: Reader --bootstrap B --topics REGEX"
                + " [--until-count N] [--idle-ms M] [--limit-ms L]");
            System.exit(2);
        }
        long count = Long.parseLong(options.getOrDefault("--until-count", "-1"));
        long idle = Long.parseLong(options.getOrDefault("--idle-ms", "" + Long.MAX_VALUE));
        long limit = Long.parseLong(options.getOrDefault("--limit-ms", "60000"));
        int code;
        try {
            Reader reader = new Reader(options.get("--bootstrap"), Pattern.compile(options.get("--topics")));
            try {
                code = (count < 0 ? reader.toTheEnd(limit) : reader.until(count, idle, limit)) ? 0 : 3;
            } finally {
                reader.out.flush();
            }
        } catch (Exception e) {
            System.err.println("reader: " + e);
            code = 1;
        }
        // Not a tidy close: a consumer without a group has nothing to leave, and a dead broker would only delay us.
        Runtime.getRuntime().halt(code);
    }

    /** Reads up to the end offsets of now; false if the time is up before that. */
    private boolean toTheEnd(long limitMs) throws IOException {
        long start = System.nanoTime();
        discover();
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions.keySet());
        while (true) {
            boolean behind = false;
            for (Map.Entry<TopicPartition, Long> end : ends.entrySet()) {
                behind |= consumer.position(end.getKey()) < end.getValue();
            }
            if (!behind) {
                return true;
            }
            if (elapsed(start) > limitMs) {
                return false;
            }
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                TopicPartition of = new TopicPartition(record.topic(), record.partition());
                if (record.offset() < ends.get(of)) {
                    print(record);
                }
            }
        }
    }

    /** Reads that many records; false if the time is up before that, true also when nothing more comes. */
    private boolean until(long count, long idleMs, long limitMs) throws IOException {
        long start = System.nanoTime();
        long lastRecord = start;
        long lastDiscovery = start;
        long seen = 0;
        discover();
        while (seen < count) {
            if (elapsed(lastRecord) > idleMs) {
                return true;
            }
            if (elapsed(start) > limitMs) {
                return false;
            }
            if (elapsed(lastDiscovery) > DISCOVERY_MS) {
                discover();
                lastDiscovery = System.nanoTime();
            }
            if (partitions.isEmpty()) {
                pause();
                continue;
            }
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                lastRecord = System.nanoTime();
                if (seen < count) {
                    print(record);
                    seen++;
                }
            }
        }
        return true;
    }

    /** Assigns the partitions of every topic that matches, new ones from their beginning. */
    private void discover() {
        Set<TopicPartition> fresh = new HashSet<>();
        for (Map.Entry<String, List<PartitionInfo>> topic : consumer.listTopics().entrySet()) {
            if (topics.matcher(topic.getKey()).matches()) {
                for (PartitionInfo info : topic.getValue()) {
                    TopicPartition partition = new TopicPartition(info.topic(), info.partition());
                    if (partitions.put(partition, topic.getValue().size()) == null) {
                        fresh.add(partition);
                    }
                }
            }
        }
        if (!fresh.isEmpty()) {
            consumer.assign(new ArrayList<>(partitions.keySet()));
            consumer.seekToBeginning(fresh);
        }
    }

    private void print(ConsumerRecord<byte[], byte[]> record) throws IOException {
        int of = partitions.get(new TopicPartition(record.topic(), record.partition()));
        out.writeStartObject();
        out.writeStringField("topic", record.topic());
        out.writeNumberField("partition", record.partition());
        out.writeNumberField("offset", record.offset());
        out.writeNumberField("timestamp", record.timestamp());
        out.writeStringField("key", text("key", record.key()));
        if (record.key() == null) {
            out.writeNullField("java_partition");
        } else {
            out.writeNumberField("java_partition", BuiltInPartitioner.partitionForKey(record.key(), of));
        }
        out.writeObjectFieldStart("headers");
        Set<String> names = new HashSet<>();
        for (Header header : record.headers()) {
            if (header.value() == null || !names.add(header.key())) {
                throw new IOException("the header " + header.key() + " is null or repeated");
            }
            out.writeStringField(header.key(), text(header.key(), header.value()));
        }
        out.writeEndObject();
        out.writeStringField("value", text("value", record.value()));
        out.writeEndObject();
        out.writeRaw('\n');
    }

    /** The bytes as text; malformed UTF-8 is a failure and not a replacement character. */
    private static String text(String what, byte[] bytes) throws IOException {
        try {
            return bytes == null ? null : StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
        } catch (CharacterCodingException e) {
            throw new IOException("the " + what + " of a record is not UTF-8", e);
        }
    }

    private static long elapsed(long since) {
        return (System.nanoTime() - since) / 1_000_000;
    }

    private static void pause() {
        try {
            Thread.sleep(POLL.toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
