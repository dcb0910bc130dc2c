import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from samples import best, fit

from rclrec_mini.models.baselines.gaussians import Gaussian, distances, fuse, positive, product, root
from rclrec_mini.models.baselines.pbat import PBAT, Groups, PBATConfig, last_of

USERS, ITEMS, HISTORY, WIDTH, BEHAVIORS = 7, 53, 23, 22, 5  # the first three are those of conftest


@pytest.fixture
def batch(batch):
    """With behaviours 0..4, so that nothing rests on there being four."""
    return replace(
        batch,
        behavior=batch.timestamp * 7 % 11 % BEHAVIORS,
        target_behavior=batch.target_timestamp * 7 % 11 % BEHAVIORS,
    )


def make(**changes) -> PBAT:
    torch.manual_seed(3)
    config = PBATConfig(d=WIDTH, dropout=0.0, max_history=HISTORY, behaviors=BEHAVIORS)
    return PBAT(config=replace(config, **changes), n_items=ITEMS, n_users=USERS)


@pytest.fixture
def model() -> PBAT:
    return make()


def gaussian(*shape, seed=0) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) + 0.1)


def distance(a, b):
    """Squared 2-Wasserstein as the paper writes it."""
    return (a[0] - b[0]).square().sum(-1) + (a[1].sqrt() - b[1].sqrt()).square().sum(-1)


def fuse_two(a, b):
    (m1, s1), (m2, s2) = a, b
    return (s1 * m2 + s2 * m1) / (s1 + s2), 2 * s1 * s2 / (s1 + s2)


def fuse_three(a, b, c):
    s = 1 / (1 / a[1] + 1 / b[1] + 1 / c[1])
    return s * (a[0] / a[1] + b[0] / b[1] + c[0] / c[1]), s


def test_fusion_and_distance_by_hand():
    a, b, c = (Gaussian(torch.tensor([m]), torch.tensor([s])) for m, s in ((1.0, 4.0), (6.0, 1.0), (-2.0, 4.0)))
    assert fuse(a, b) == (5.0, torch.tensor(1.6))  # (4*6 + 1*1) / 5, 2*4 / 5
    precision, weighted = product(a, b, c)  # of three: S = 1 / (1/4 + 1 + 1/4)
    torch.testing.assert_close(torch.cat([weighted / precision, 1 / precision]), torch.tensor([23 / 6, 2 / 3]))
    assert (root(a) - root(b)).square().sum() == 26  # 5^2 + (2 - 1)^2


def test_root_gives_the_wasserstein_distance_of_matrices():
    """|mu - mu'|^2 + tr(S + S' - 2 (S^1/2 S' S^1/2)^1/2), for matrices that happen to be diagonal."""
    a, b = gaussian(5), gaussian(5, seed=1)
    half = torch.diag(a.covariance.sqrt())
    values, vectors = torch.linalg.eigh(half @ torch.diag(b.covariance) @ half)
    cross = vectors @ torch.diag(values.sqrt()) @ vectors.T
    trace = torch.trace(torch.diag(a.covariance) + torch.diag(b.covariance) - 2 * cross)
    torch.testing.assert_close((root(a) - root(b)).square().sum(), (a.mean - b.mean).square().sum() + trace)


def test_covariances_stay_positive():
    x = torch.tensor([-1e4, -30.0, -1.0, 0.0, 2.0], requires_grad=True)
    covariance = positive(x)
    assert (covariance > 0).all()
    torch.testing.assert_close(covariance[2:], torch.tensor([math.exp(-1), 1.0, 3.0]))
    (1 / covariance).sqrt().sum().backward()
    assert x.grad.isfinite().all()


def test_distances_of_all_pairs():
    a, b = torch.randn(3, 7, 11), torch.randn(3, 5, 11)
    found = distances(a, b)
    for i in range(7):
        for j in range(5):
            torch.testing.assert_close(found[:, i, j], (a[:, i] - b[:, j]).square().sum(-1))


def test_groups_by_hand():
    behavior = torch.tensor([[2, 0, 2, 0], [0, 0, 2, 4]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1]], dtype=torch.bool)
    groups = Groups.of(behavior, mask, BEHAVIORS)
    assert groups.sizes == [2, 0, 2, 0, 1] and groups.place.tolist() == [[2, 0, 3, 1], [5, 0, 2, 4]]
    item = torch.tensor([[11, 13, 17, 19], [23, 29, 31, 37]])
    assert groups.gather(item, -1).tolist() == [[13, 19, 11, 17, -1], [29, -1, 31, -1, 37]]
    back = groups.scatter(groups.gather(item, -1)[..., None])[..., 0]
    assert back.tolist() == [[11, 13, 17, 19], [0, 29, 31, 37]]


def twin(model, user, item, behavior):
    """The paper's equations for one user's events, in loops over pairs: T items and behaviours -> (T, d), (T, d)"""
    h, n, d = model.config.heads, model.config.behaviors, model.config.d
    size, events = d // h, range(len(item))

    def normalised(table, index):
        return [
            norm(part.weight[index]) for norm, part in zip(table.norms, (table.mean, table.covariance), strict=True)
        ]

    def row(table, index):
        mean, covariance = normalised(table, index)
        return F.elu(mean), F.elu(covariance) + 1

    kind = [row(model.behavior, b) for b in range(n)]
    pattern = [fuse_two(row(model.user, user), (model.of_behavior(m), s)) for m, s in kind]
    relation = {}
    for b in range(n):
        for c in range(n):
            factor = -distance(pattern[b], pattern[c]) / d
            raw = normalised(model.relation, b * n + c)
            relation[b, c] = factor * F.elu(raw[0]), F.elu(factor * raw[1]) + 1
    ago = [len(item) - 1 - t for t in events]
    position = [(model.position.mean.weight[t], F.elu(model.position.covariance.weight[t]) + 1) for t in ago]
    x = [row(model.item, i) for i in item]
    for layer in model.layers:
        attention, new = layer.attention, []
        projected = []
        for t in events:
            mean, covariance = (attention.content[p](x[t][p]) + attention.kind[p](kind[behavior[t]][p]) for p in (0, 1))
            projected.append((mean.chunk(3), [F.elu(s) + 1 for s in covariance.chunk(3)]))
        for i in events:
            heads = []
            for head in range(h):
                part = slice(head * size, (head + 1) * size)
                score, value = [], []
                for j in events:
                    r = [g[part] for g in relation[behavior[i], behavior[j]]]
                    p_i, p_j = ([g[part] for g in position[t]] for t in (i, j))
                    query = fuse_three(
                        (projected[i][0][0][part], projected[i][1][0][part]),
                        (attention.query_relation(r[0]), r[1]),
                        (attention.query_position(p_i[0]), p_i[1]),
                    )
                    key = fuse_three(
                        (projected[j][0][1][part], projected[j][1][1][part]),
                        (attention.key_relation(r[0]), r[1]),
                        (attention.key_position(p_j[0]), p_j[1]),
                    )
                    score.append(-distance(query, key) / math.sqrt(size))
                    value.append((projected[j][0][2][part], projected[j][1][2][part]))
                weight = torch.stack(score).softmax(0)
                heads.append(
                    (
                        sum(a * m for a, (m, _) in zip(weight, value, strict=True)),
                        sum(a**2 * s for a, (_, s) in zip(weight, value, strict=True)),
                    )
                )
            y = []
            for p in (0, 1):
                z = attention.out[p](torch.cat([head[p] for head in heads]))
                z = layer.attention_norm(x[i][p] + z)
                y.append(layer.ffn_norm(z + layer.ffn.networks[behavior[i]](z)))
            new.append((y[0], F.elu(y[1]) + 1))
        x = new
    for t in events:
        m, s = pattern[behavior[t]]
        m, s = fuse_two(x[t], (model.of_pattern(m), s))
        x[t] = F.elu(model.head[0](m)), F.elu(model.head[1](s)) + 1
    return torch.stack([m for m, _ in x]), torch.stack([s for _, s in x])


@pytest.fixture
def trained(model, batch):
    """Weights that are not at their start, so that no part is zero or one by chance."""
    fit(model, batch, steps=5, lr=0.02, stage=model.pretraining)
    return model.eval().double()


@torch.no_grad()
def test_states_are_those_of_the_papers_equations(trained, batch):
    events = batch.with_target()
    found, _ = trained.states(batch.user, events.item, events.behavior, events.mask)
    length = events.mask.sum(1)
    shortest, longest = int(length.argmin()), int(length.argmax())
    assert length[shortest] < 5 < length[longest]
    for b in (shortest, longest):
        exists = events.mask[b]
        mean, covariance = twin(
            trained, batch.user[b], events.item[b][exists].tolist(), events.behavior[b][exists].tolist()
        )
        torch.testing.assert_close(found.mean[b][exists], mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.covariance[b][exists], covariance, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_score_is_minus_the_distance_to_each_item(trained, batch):
    events = batch.history()
    b = int(events.mask.sum(1).argmin())
    item = [*events.item[b][events.mask[b]].tolist(), ITEMS]  # [MASK] has the number after the last item
    behavior = [*events.behavior[b][events.mask[b]].tolist(), int(batch.target_behavior[b])]
    mean, covariance = twin(trained, batch.user[b], item, behavior)
    table = trained.item.mean.weight[:ITEMS], F.elu(trained.item.covariance.weight[:ITEMS]) + 1
    expected = -distance((mean[-1], covariance[-1]), table)
    vectors, bias = trained.items()
    assert vectors.shape == (ITEMS, 2 * WIDTH) and bias.shape == (ITEMS,)
    found = vectors @ trained.query(batch)[b] + bias
    torch.testing.assert_close(found - found.mean(), expected - expected.mean(), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_item_that_the_state_coincides_with_is_best(model, batch):
    query = model.query(batch)
    model.item.mean.weight[17] = query[4, :WIDTH]
    covariance = query[4, WIDTH:].square()
    model.item.covariance.weight[17] = torch.where(covariance > 1, covariance - 1, covariance.log())
    vectors, bias = model.items()
    assert (vectors @ query[4] + bias).argmax() == 17


@torch.no_grad()
def test_attention_of_the_mask_is_a_distribution_over_the_events_and_itself(model, batch):
    weight = model.masked_attention(batch)
    assert weight.shape[:3] == (len(batch), model.config.layers, model.config.heads)
    torch.testing.assert_close(weight.sum(-1), torch.ones(weight.shape[:3]))
    assert ((weight > 0).sum(-1) == (batch.mask.sum(1) + 1)[:, None, None]).all()


@torch.no_grad()
def test_relation_of_a_behavior_to_itself_is_the_standard_one(model):
    """Its distance is 0, whoever the user is; other relations are personal and may differ by direction."""
    relations = model.relations(model.patterns(torch.tensor([2, 5])))
    torch.testing.assert_close(relations.mean.diagonal(dim1=1, dim2=2), torch.zeros(2, WIDTH, BEHAVIORS))
    torch.testing.assert_close(relations.covariance.diagonal(dim1=1, dim2=2), torch.ones(2, WIDTH, BEHAVIORS))
    assert not torch.allclose(relations.mean[0, 1, 3], relations.mean[1, 1, 3])
    assert not torch.allclose(relations.mean[0, 1, 3], relations.mean[0, 3, 1])


@torch.no_grad()
def test_masked_items_are_hidden_and_their_behaviors_are_not(model, batch):
    hidden = torch.rand(len(batch), HISTORY + 1, generator=torch.Generator().manual_seed(4)) < 0.4
    hidden = hidden & batch.with_target().mask
    hidden[:, -1] = True

    def loss_of(batch):
        events = batch.with_target()
        item = events.item.masked_fill(hidden, ITEMS)
        return root(model.states(batch.user, item, events.behavior, events.mask)[0])[hidden]

    other = replace(
        batch,
        item=torch.where(hidden[:, :-1], (batch.item + 1) % ITEMS, batch.item),
        target_item=(batch.target_item + 1) % ITEMS,
    )
    torch.testing.assert_close(loss_of(batch), loss_of(other), rtol=0, atol=0)
    changed = replace(batch, behavior=torch.where(hidden[:, :-1], (batch.behavior + 1) % BEHAVIORS, batch.behavior))
    assert not torch.allclose(loss_of(batch), loss_of(changed))


def test_loss_is_the_softmax_over_distances(model, batch):
    hidden = last_of(batch.with_target().mask)
    hidden[:, -4] = batch.with_target().mask[:, -4]
    events = batch.with_target()
    states, _ = model.states(batch.user, events.item.masked_fill(hidden, ITEMS), events.behavior, events.mask)
    table = model.item.mean.weight[:ITEMS], F.elu(model.item.covariance.weight[:ITEMS]) + 1
    losses = []
    for b in range(len(batch)):
        nll = [
            -(-distance((states.mean[b, t], states.covariance[b, t]), table)).log_softmax(0)[events.item[b, t]]
            for t in hidden[b].nonzero().flatten()
        ]
        losses.append(sum(nll) / len(nll))
    torch.testing.assert_close(model.cloze(batch, hidden)["loss"], torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)


def test_forward_masks_the_target_alone(model, batch):
    vectors, bias = model.items()
    expected = F.cross_entropy(model.query(batch) @ vectors.T + bias, batch.target_item)
    torch.testing.assert_close(model(batch)["loss"], expected)


def masks_drawn(model, batch, monkeypatch):
    drawn = []
    monkeypatch.setattr(model, "cloze", lambda batch, hidden: drawn.append(hidden))
    for _ in range(40):
        model.pretraining(batch)
    return torch.stack(drawn), batch.with_target().mask


def test_pretraining_masks_a_share_of_the_events(batch, monkeypatch):
    hidden, exists = masks_drawn(make(mask=0.3, last_only=0.0), batch, monkeypatch)
    assert not (hidden & ~exists).any() and hidden.any(2).all()
    long = exists.sum(1) > 12  # no event drawn, and the last taken instead, has probability 0.01 at most
    assert abs(hidden[:, long].sum() / (40 * exists[long].sum()) - 0.3) < 0.03
    share = hidden[:, long].sum((0, 1)) / (40 * exists[long].sum(0))
    assert (abs(share - 0.3) < 0.15).all()  # anywhere


def test_pretraining_masks_the_last_alone_in_some_samples(batch, monkeypatch):
    hidden, _ = masks_drawn(make(mask=0.9, last_only=0.3), batch, monkeypatch)
    alone = hidden[..., -1] & (hidden.sum(2) == 1)
    long = batch.mask.sum(1) > 5
    assert abs(alone[:, long].float().mean() - 0.3) < 0.06
    hidden, exists = masks_drawn(make(mask=0.0, last_only=0.0), batch, monkeypatch)
    assert (hidden == last_of(exists)).all()


@torch.no_grad()
def test_query_reads_the_user_and_the_behavior_wanted(model, batch):
    query = model.query(batch)
    assert query.shape == (len(batch), 2 * WIDTH)
    for changed in (
        replace(batch, user=(batch.user + 1) % USERS),
        replace(batch, target_behavior=(batch.target_behavior + 1) % BEHAVIORS),
    ):
        assert ((query - model.query(changed)).abs().amax(1) > 1e-3).all()
    future = replace(batch, target_item=batch.target_item * 0, target_timestamp=batch.target_timestamp * 0)
    torch.testing.assert_close(model.query(future), query, rtol=0, atol=0)


@torch.no_grad()
def test_padding_changes_nothing(model, batch):
    def pad(x):
        return F.pad(x, (6, 0))

    wide = replace(
        batch,
        item=F.pad(batch.item, (6, 0), value=11), behavior=F.pad(batch.behavior, (6, 0), value=2),
        timestamp=pad(batch.timestamp), mask=pad(batch.mask),
    )  # fmt: skip
    torch.testing.assert_close(model.query(wide), model.query(batch))


def test_one_update_reaches_every_part(model, batch):
    model.pretraining(batch)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_it_learns_to_repeat(batch):
    """The target is the newest event's item: fine-tuning finds that out, where chance is 1 in 53."""
    repeated = replace(batch, target_item=batch.item[:, -1])
    for negatives in (0, 29):  # with all other items in the loss, or some
        model = make(negatives=negatives, layers=1)
        fit(model, repeated, steps=25, lr=0.01)
        assert (best(model.eval(), repeated) == repeated.target_item).float().mean() > 0.5
