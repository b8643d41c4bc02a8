package control

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"weft/internal/model"
	"weft/internal/store"
)

// TemplateChange asks to create a rule that new security groups begin with.
type TemplateChange = Change[model.RuleTemplate]

// Templates returns the rules that new security groups begin with.
func Templates(r store.Reader) []model.RuleTemplate {
	if e := store.RuleTemplates.Get(r, store.RuleTemplatesID); e != nil {
		return e.Value.Rules
	}
	return model.StandardTemplates()
}

// CreateTemplates adds rules for new security groups, all or none.
func (c *Control) CreateTemplates(ctx context.Context, changes []TemplateChange) ([]*store.Entry[model.RuleTemplate], error) {
	if err := checkTogether(len(changes)); err != nil {
		return nil, err
	}
	made := make([]*store.Entry[model.RuleTemplate], len(changes))
	for i, ch := range changes {
		t := &model.RuleTemplate{ID: uuid.NewString()}
		ch.Apply(t)
		if err := checkMatch(&t.RuleMatch); err != nil {
			return nil, err
		}
		made[i] = &store.Entry[model.RuleTemplate]{Value: t}
	}
	return made, c.changeTemplates(ctx, func(w *work, had []model.RuleTemplate) ([]model.RuleTemplate, error) {
		rules := slices.Clone(had)
		for _, e := range made {
			if err := w.checkRemotes(&e.Value.RuleMatch); err != nil {
				return nil, err
			}
			if err := newTemplate(e.Value, had, rules); err != nil {
				return nil, err
			}
			rules = append(rules, *e.Value)
		}
		return rules, nil
	})
}

// newTemplate refuses a rule that some new group would then have twice.
func newTemplate(t *model.RuleTemplate, had, all []model.RuleTemplate) error {
	name := store.RuleName(&t.RuleMatch)
	for i := range all {
		o := &all[i]
		if store.RuleName(&o.RuleMatch) != name || !(t.InDefault && o.InDefault || t.InOthers && o.InOthers) {
			continue
		}
		if i >= len(had) {
			return model.Faultf(model.TemplateTwiceInRequest, "Duplicate Default Security Group Rule in POST.")
		}
		return model.Faultf(model.TemplateExists, "Default Security group rule already exists. Rule id is %s.", o.ID)
	}
	return nil
}

// DeleteTemplate removes a rule for new security groups. Groups that began with it keep it.
func (c *Control) DeleteTemplate(ctx context.Context, id string) error {
	return c.changeTemplates(ctx, func(_ *work, had []model.RuleTemplate) ([]model.RuleTemplate, error) {
		i := slices.IndexFunc(had, func(t model.RuleTemplate) bool { return t.ID == id })
		if i < 0 {
			return nil, model.NotFound{Kind: model.KindRuleTemplate, ID: id}
		}
		return slices.Delete(slices.Clone(had), i, i+1), nil
	})
}

// changeTemplates writes the list anew.
func (c *Control) changeTemplates(ctx context.Context, change func(*work, []model.RuleTemplate) ([]model.RuleTemplate, error)) error {
	return c.transact(ctx, func(w *work) error {
		rules, err := change(w, Templates(w.r))
		if err != nil {
			return err
		}
		all := &model.RuleTemplates{Rules: rules}
		if old := store.RuleTemplates.Get(w.r, store.RuleTemplatesID); old != nil {
			store.RuleTemplates.Update(w.txn, old, all)
		} else {
			store.RuleTemplates.Create(w.txn, all)
		}
		return nil
	})
}
