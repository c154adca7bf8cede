"""How LangGraph's saver finds checkpoints, with a plan that does not grow with their thread."""

from __future__ import annotations

from langgraph.checkpoint.postgres import PostgresSaver


class Reader(PostgresSaver):
    """LangGraph's saver, which finds the blobs of a checkpoint one by one by their key.

    Its own statement is a join, for which the server expects a hundred channels in each checkpoint: it then likes to
    read all blobs of the thread.
    """

    SELECT_SQL = """
    SELECT thread_id, checkpoint, checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata,
        (
            SELECT array_agg(ARRAY[convert_to(of.key, 'UTF8'), convert_to(found.type, 'UTF8'), found.blob])
            FROM jsonb_each_text(checkpoint -> 'channel_versions') AS of
            CROSS JOIN LATERAL (
                SELECT b.type, b.blob FROM checkpoint_blobs b
                WHERE b.thread_id = checkpoints.thread_id AND b.checkpoint_ns = checkpoints.checkpoint_ns
                    AND b.channel = of.key AND b.version = of.value
                LIMIT 1
            ) AS found
        ) AS channel_values,
        (
            SELECT array_agg(ARRAY[
                convert_to(w.task_id, 'UTF8'), convert_to(w.channel, 'UTF8'), convert_to(w.type, 'UTF8'), w.blob,
                convert_to(w.task_path, 'UTF8'), convert_to(w.idx::text, 'UTF8')
            ])
            FROM checkpoint_writes w
            WHERE w.thread_id = checkpoints.thread_id AND w.checkpoint_ns = checkpoints.checkpoint_ns
                AND w.checkpoint_id = checkpoints.checkpoint_id
        ) AS pending_writes
    FROM checkpoints """
