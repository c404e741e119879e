package lapwing.bench;

import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/** Judges events over the states of their users and forwards a result for each. */
final class Judge extends ContextualProcessor<Long, Event, Long, Result> {
  /** The store's name. */
  static final String USERS = "users";

  private KeyValueStore<Long, UserState> users;

  @Override
  public void init(ProcessorContext<Long, Result> context) {
    super.init(context);
    users = context.getStateStore(USERS);
  }

  @Override
  public void process(Record<Long, Event> record) {
    Event event = record.value();
    if (event == null) {
      return; // a tombstone
    }
    Long userId = record.key();
    if (userId == null || userId != event.userId()) {
      // The user's state may be another task's.
      throw new IllegalArgumentException("event of user " + event.userId() + " has key " + userId);
    }
    UserState state = users.get(userId);
    if (state == null) {
      state = new UserState();
    }
    int alerts = Rules.judge(state, event);
    users.put(userId, state);
    context().forward(new Record<>(userId, new Result(alerts, userId), record.timestamp()));
  }
}
